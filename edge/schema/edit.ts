import { z } from '@hono/zod-openapi';
import { imageFile } from './file.ts';
import { openaiFields } from './openai.ts';
import { pictureFields } from './pictures.ts';
import { samplingFields } from './sampling.ts';
import { text } from './text.ts';

const { init_image: _, mask: __, ...fields } = pictureFields;

const fileOf = (description: string) => imageFile(description, 'binary');

/**
 * Body of POST /v1/images/edits, a form: OpenAI's fields, then this server's own; numbers and booleans as text, lists
 * and objects as JSON or field by field (`loras[][name]`).
 */
export const editBody = z
  .looseObject({
    image: fileOf('The picture to edit; `image[]` with one file is the same.'),
    mask: fileOf('A picture of its size: what is transparent is made anew (`mask_channel`).').nullish(),
    ...openaiFields,
    ...samplingFields,
    ...fields,
  })
  .openapi('ImageEditRequest');

/** Body of POST /v1/images/variations: as an edit's, without a mask and with or without a prompt. */
export const variationBody = editBody
  .omit({ mask: true })
  .extend({ prompt: text.nullish().openapi({ description: 'What to show. Default: whatever is there.' }) })
  .openapi('ImageVariationRequest');

export type EditBody = z.output<typeof editBody>;
