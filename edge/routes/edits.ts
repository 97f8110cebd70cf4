import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { fromZod, unexpected } from '../errors.ts';
import { formFields } from '../form.ts';
import { limitsOf } from '../guard/caller.ts';
import { drawSeed, idempotencyKey } from '../idempotency.ts';
import { withPictures } from '../pictures.ts';
import { errorReplies } from '../schema/common.ts';
import { type EditBody, editBody, variationBody } from '../schema/edit.ts';
import type { GenerationBody } from '../schema/generation.ts';
import { ignoredFields, toGenerateRequest } from '../schema/to-sidecar.ts';
import { limitBody, requireType } from './body.ts';
import { type ImagesOptions, imagesContent, imagesResponse } from './images.ts';

/** How fields of the contract are called in these forms. */
const publicNames = { init_image: 'image' };

const routeOf = (path: string, summary: string, schema: typeof editBody | typeof variationBody) =>
  createRoute({
    method: 'post',
    path,
    summary,
    description: 'OpenAI’s Images API, as a form. This server’s own fields too; lists and objects as JSON.',
    request: { body: { required: true, content: { 'multipart/form-data': { schema } } } },
    responses: { 200: imagesContent, ...errorReplies },
  });

/** POST /v1/images/edits and /v1/images/variations */
export function edits(options: ImagesOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  const form = [requireType('multipart/form-data'), limitBody(options.limits.imageBodyBytes)] as const;

  const edit = routeOf('/v1/images/edits', 'Make a picture, or a part of it, anew', editBody);
  app.openAPIRegistry.registerPath(edit);
  app.post(edit.path, ...form, async (c) => answer(c, await bodyOf(c, editBody, options), options));

  const variation = routeOf('/v1/images/variations', 'Make a picture like another', variationBody);
  app.openAPIRegistry.registerPath(variation);
  app.post(variation.path, ...form, async (c) => {
    const body = await bodyOf(c, variationBody, options);
    return answer(c, { ...body, prompt: body.prompt ?? '' }, options);
  });
  return app;
}

async function bodyOf<Schema extends typeof editBody | typeof variationBody>(
  c: Context,
  schema: Schema,
  { fetchPicture }: ImagesOptions,
) {
  const fields = await formFields(c.req.raw, schema);
  for (const name of ['image', 'mask']) {
    const files = fields[name];
    if (!Array.isArray(files)) continue;
    if (files.length > 1) throw unexpected(name, 'one picture', String(files.length));
    fields[name] = files[0];
  }
  const parsed = schema.safeParse(fields);
  if (!parsed.success) throw fromZod(parsed.error, fields, '', schema);
  return withPictures(parsed.data as ReturnType<Schema['parse']>, fetchPicture);
}

async function answer(c: Context, body: EditBody, options: ImagesOptions): Promise<Response> {
  c.set('publicNames', publicNames);
  const { image, ...rest } = body;
  // What is opaque of a mask stays as it is, byte for byte.
  const ofMask = body.mask && {
    mask_channel: body.mask_channel ?? 'alpha',
    keep_unmasked: body.keep_unmasked ?? true,
  };
  const generation = { ...rest, init_image: image, ...ofMask } as GenerationBody;
  const key = await idempotencyKey(c);
  const ignored = ignoredFields(body, editBody.shape);
  const request = toGenerateRequest(generation, {
    limits: limitsOf(c, options.limits),
    drawn: drawSeed(key),
  });
  return imagesResponse(c, body, { request, ignored, idempotencyKey: key, event: 'image_edit' }, options);
}
