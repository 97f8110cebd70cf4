import { z } from '@hono/zod-openapi';
import { controlUnit } from './control.ts';
import { imageFile } from './file.ts';

const share = (description: string) => z.number().min(0).max(1).nullish().openapi({ description });
const pixels = z.int().min(0).max(65_536).nullish();

/** This server's own fields about pictures: what to begin from, what guides, what comes after. */
export const pictureFields = {
  init_image: imageFile('A picture to begin from (image to image). Default: noise.').nullish(),
  strength: share('The share of the steps that is run on it. Default: 0.8, with a mask 1.'),
  mask: imageFile('What of it is made anew (inpainting), of its size.').nullish(),
  mask_channel: z.enum(['luminance', 'darkness', 'alpha']).nullish().openapi({
    description:
      'luminance: white is made anew; darkness: black; alpha: what is transparent. Default: luminance, of edits alpha.',
  }),
  mask_blur: z
    .int()
    .min(0)
    .max(256)
    .nullish()
    .openapi({ description: 'Pixels: deviation of the Gaussian that softens the mask’s edges.', default: 0 }),
  only_masked_padding: z
    .int()
    .min(0)
    .max(4096)
    .nullish()
    .openapi({ description: 'Work on the part around the mask alone, with so many pixels beside it.' }),
  keep_unmasked: z.boolean().nullish().openapi({
    description:
      'Put the picture’s own pixels back where nothing is made anew. Default: false, of edits true.',
  }),
  masked_content: z.enum(['original', 'fill', 'latent-noise', 'latent-nothing']).nullish().openapi({
    description:
      'What is made anew begins from, at a strength below 1: the picture; the colours around it, blurred; or that with noise, or zeros, for latents.',
    default: 'original',
  }),

  control: z
    .array(controlUnit)
    .max(8)
    .nullish()
    .openapi({ description: 'ControlNets that take part, with what they look at.' }),
  guess_mode: z
    .boolean()
    .nullish()
    .openapi({ description: 'Let the hints alone say what to draw.', default: false }),

  refiner: z
    .string()
    .max(256)
    .nullish()
    .openapi({ description: 'A model that takes over towards the end.', example: 'sd-xl-refiner' }),
  refiner_start: share('The share of the noise schedule behind when it does. Default: 0.8.'),
  hires_scale: z
    .number()
    .min(1)
    .max(4)
    .nullish()
    .openapi({ description: 'Go over each image a second time, enlarged so many times.' }),
  hires_strength: share('The share of the steps that is run then. Default: 0.5.'),
  hires_upscaler: z.string().max(64).nullish().openapi({
    description:
      'What enlarges: pixel, or the latents: latent, latent-bicubic, latent-nearest, latent-nearest-exact.',
    default: 'pixel',
  }),

  decoder: z.string().max(256).nullish().openapi({
    description: 'What makes pictures of latents: model, or a tiny autoencoder of the server’s.',
    default: 'model',
  }),
  preview_decoder: z
    .string()
    .max(256)
    .nullish()
    .openapi({ description: 'What makes partial images: as decoder, or linear. Default: the fastest.' }),

  size_conditioning: z
    .object({
      original_width: pixels,
      original_height: pixels,
      crop_left: pixels,
      crop_top: pixels,
      target_width: pixels,
      target_height: pixels,
    })
    .nullish()
    .openapi({
      description: 'What Stable Diffusion XL is told of a picture’s past, in pixels.',
      example: { original_width: 1024, original_height: 1024, crop_left: 0, crop_top: 0 },
    }),
};
