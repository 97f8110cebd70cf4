import { ApiError, invalid } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { type OutputFormat, toImageFormat } from '../schema/formats.ts';
import { seedsFrom } from '../schema/to-sidecar.ts';
import type { GenerateRequest, Names } from '../sidecar/client.ts';
import { controlUnits } from './control.ts';
import { ignoredFields } from './ignored.ts';
import { upscalers } from './names.ts';
import type { Img2ImgBody, SharedBody, Txt2ImgBody } from './schema.ts';

export interface Translation {
  limits: Limits;
  /** The caller's choice. */
  model: string;
  /** The seed of a body that names none. */
  drawn: number;
  units: readonly unknown[];
  names: Names;
}

export interface Translated {
  request: GenerateRequest;
  ignored: string[];
}

/** Steps between previews, for whoever asks for the progress: that UI's own. */
const PREVIEW_INTERVAL = 10;
const MAX_IMAGES = 16;

/** @throws ApiError for what cannot be translated. */
export function fromTxt2Img(body: Txt2ImgBody, translation: Translation): Translated {
  const { enable_hr, hr_resize_x, hr_resize_y } = body;
  const request = sharedOf(body, translation);
  if (!enable_hr) return { request, ignored: ignoredFields(body, []) };
  const { width = 512, height = 512 } = body;
  const [x, y] = [(hr_resize_x ?? 0) / width!, (hr_resize_y ?? 0) / height!];
  if (x > 0 && y > 0 && Math.abs(x - y) > 0.02)
    throw invalid('hr_resize_y', `${Math.round(x * height!)}, to keep the proportions,`, hr_resize_y);
  return {
    request: {
      ...request,
      hiresScale: x || y || (body.hr_scale ?? 2),
      hiresUpscaler: upscalerOf(body.hr_upscaler ?? 'Latent'),
      hiresStrength: body.denoising_strength ?? 0.7,
    },
    ignored: ignoredFields(body, ['hr_second_pass_steps']),
  };
}

/** @throws ApiError for what cannot be translated. */
export function fromImg2Img(body: Img2ImgBody, translation: Translation): Translated {
  const images = body.init_images ?? [];
  if (images.length === 0) throw new ApiError(404, 'init_image_not_found', 'Init image not found');
  if (images.length > 1) throw invalid('init_images', 'one picture', images.length);
  const { mask, inpaint_full_res = true } = body;
  return {
    request: {
      ...sharedOf(body, translation),
      initImage: images[0]!,
      strength: body.denoising_strength ?? 0.75,
      ...(mask && {
        mask,
        maskChannel: body.inpainting_mask_invert ? 'darkness' : 'luminance',
        maskBlur: body.mask_blur ?? 4,
        onlyMaskedPadding: inpaint_full_res ? (body.inpaint_full_res_padding ?? 0) : undefined,
        keepUnmasked: true,
      }),
    },
    ignored: ignoredFields(body, mask ? ['inpainting_fill'] : []),
  };
}

function sharedOf(body: SharedBody, { limits, model, drawn, units, names }: Translation): GenerateRequest {
  const settings = body.override_settings ?? {};
  const count = (body.batch_size ?? 1) * (body.n_iter ?? 1);
  if (count > MAX_IMAGES) throw invalid('n_iter', `at most ${MAX_IMAGES} images with batch_size`, count);
  const seed = body.seed === undefined || body.seed === null || body.seed < 0 ? drawn : body.seed;
  const { prompt, adapters } = withoutLoras(body.prompt ?? '');
  return {
    model: textOf(settings.sd_model_checkpoint) ?? model,
    prompt,
    negativePrompt: body.negative_prompt ?? '',
    adapters,
    width: body.width ?? 0,
    height: body.height ?? 0,
    count,
    seeds: seedsFrom(seed, count),
    steps: body.steps ?? 0,
    guidanceScale: body.cfg_scale ?? undefined,
    sampler: body.sampler_name ?? body.sampler_index ?? '',
    schedule: scheduleOf(body.scheduler),
    eta: body.eta ?? undefined,
    clipSkip: clipSkipOf(settings.CLIP_stop_at_last_layers),
    refiner: named(body.refiner_checkpoint),
    refinerStart: body.refiner_checkpoint ? (body.refiner_switch_at ?? undefined) : undefined,
    control: controlUnits(units, names),
    previewInterval: Math.min(PREVIEW_INTERVAL, Math.ceil((body.steps ?? 20) / 4)),
    ...encodingOf(settings),
    maxPixels: limits.replyPixels,
  };
}

/** `<lora:NAME:SCALE>` stands in the prompt there. */
function withoutLoras(text: string): { prompt: string; adapters: { name: string; scale: number }[] } {
  const adapters: { name: string; scale: number }[] = [];
  const prompt = text.replace(/<lora:([^:<>]+)(?::([^:<>]*))?(?::[^<>]*)?>/gi, (tag, name, scale = '1') => {
    const value = Number(scale);
    if (scale.trim() === '' || !Number.isFinite(value) || Math.abs(value) > 100)
      throw invalid('prompt', 'a scale from -100 to 100 in <lora:NAME:SCALE>', tag);
    adapters.push({ name, scale: value });
    return '';
  });
  return { prompt: prompt.trim(), adapters };
}

const textOf = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);

const named = (name: string | null | undefined) => (!name || /^none$/i.test(name) ? '' : name);

/** "Automatic" leaves it to the sampler. */
const scheduleOf = (name: string | null | undefined) => (!name || /^automatic$/i.test(name) ? '' : name);

/** There, 1 is the last layer. */
function clipSkipOf(layers: unknown): number | undefined {
  if (layers === undefined || layers === null) return undefined;
  if (Number.isInteger(layers) && Number(layers) >= 1 && Number(layers) <= 12) return Number(layers) - 1;
  throw invalid('override_settings.CLIP_stop_at_last_layers', 'a whole number from 1 to 12', layers);
}

function upscalerOf(name: string): string {
  const found = Object.entries(upscalers).find(([other]) => other.toLowerCase() === name.toLowerCase());
  if (found) return found[1];
  throw invalid('hr_upscaler', `one of ${Object.keys(upscalers).join(', ')}`, name);
}

function encodingOf({ samples_format, jpeg_quality }: Record<string, unknown>): GenerateRequest {
  const name = textOf(samples_format)?.toLowerCase() ?? 'png';
  const format = name === 'jpg' ? 'jpeg' : name;
  if (!['png', 'jpeg', 'webp'].includes(format))
    throw invalid('override_settings.samples_format', 'png, jpg or webp', samples_format);
  const quality = Number.isInteger(jpeg_quality) && format !== 'png' ? Number(jpeg_quality) : undefined;
  return { format: toImageFormat(format as OutputFormat), quality };
}
