import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { optionsOf } from '../../a1111/control.ts';
import { controlTypes } from '../../a1111/control-types.ts';
import {
  controlSettingsReply,
  controlTypesReply,
  detectReply,
  modelListReply,
  moduleListReply,
  versionReply,
} from '../../a1111/replies.ts';
import { toBase64 } from '../../base64.ts';
import { invalid } from '../../errors.ts';
import { withPictures } from '../../pictures.ts';
import { imageFile } from '../../schema/file.ts';
import { traceOf } from '../../tracing.ts';
import { jsonBody, limitBody, requireType } from '../body.ts';
import { declare } from './declare.ts';
import { LISTING_MS } from './lists.ts';
import type { A1111Options } from './options.ts';

/** Of the extension's API as clients ask for it. */
const VERSION = 3;

const pictures = z.array(imageFile('A picture.')).max(16).nullish();

const detectBody = z.looseObject({
  controlnet_module: z.string().max(256).nullish(),
  controlnet_input_images: pictures.openapi({ description: 'Pictures to look at.' }),
  controlnet_images: pictures.openapi({ description: 'The same, as older clients call it.' }),
  controlnet_masks: pictures.openapi({ description: 'One for each picture: white is to be made anew.' }),
  controlnet_threshold_a: z.number().nullish(),
  controlnet_threshold_b: z.number().nullish(),
});

/** /controlnet/…: models, modules, and what a module makes of a picture. */
export function a1111ControlNet({ sidecar, limits, fetchPicture, timeoutMs }: A1111Options): OpenAPIHono {
  const app = new OpenAPIHono();
  const call = (c: Context) => ({ signal: c.req.raw.signal, timeoutMs: LISTING_MS });
  const get = (name: string, summary: string, reply: z.ZodType, answer: (c: Context) => unknown) => {
    const path = `/controlnet/${name}`;
    declare(app, { method: 'get', path, summary, reply });
    app.get(path, async (c) => c.json((await answer(c)) as object));
  };
  const models = async (c: Context) =>
    (await sidecar.listModels(call(c))).filter(({ kind }) => kind === 'controlnet').map(({ name }) => name);

  get('version', 'Version of this API', versionReply, () => ({ version: VERSION }));
  get('settings', 'How many units a request may have', controlSettingsReply, () => ({
    control_net_unit_count: 8,
  }));
  get('model_list', 'The ControlNets', modelListReply, async (c) => ({ model_list: await models(c) }));
  get('control_types', 'Modules and models by kind of control', controlTypesReply, async (c) => {
    const { preprocessors } = await sidecar.listNames(call(c));
    return { control_types: controlTypes(preprocessors, await models(c)) };
  });
  get('module_list', 'The preprocessors', moduleListReply, async (c) => {
    const { preprocessors } = await sidecar.listNames(call(c));
    const detail = preprocessors.map(({ name, options }) => [
      name,
      {
        model_free: false,
        sliders: options.map(({ name, defaultValue, min, max }) => ({
          ...{ name, value: defaultValue, min, max },
        })),
      },
    ]);
    return {
      module_list: preprocessors.map(({ name }) => name),
      module_detail: Object.fromEntries(detail),
    };
  });
  const path = '/controlnet/detect';
  declare(app, { method: 'post', path, summary: 'Hints of pictures', body: detectBody, reply: detectReply });
  app.post(path, requireType('application/json'), limitBody(limits.imageBodyBytes), async (c) => {
    const body = await withPictures(await jsonBody(c, detectBody), fetchPicture);
    const module = body.controlnet_module ?? 'none';
    const field = body.controlnet_input_images ? 'controlnet_input_images' : 'controlnet_images';
    const given = body[field] ?? [];
    if (given.length === 0) throw invalid('controlnet_input_images', 'at least one picture', given.length);
    const requestId = c.get('requestId' as never) as string;
    const call = { signal: c.req.raw.signal, timeoutMs, requestId, trace: traceOf(c) };
    const { preprocessors } = await sidecar.listNames(call);
    const values = [body.controlnet_threshold_a, body.controlnet_threshold_b];
    const preprocessorOptions = optionsOf(module, values, preprocessors);
    const images: string[] = [];
    for (const [i, image] of given.entries()) {
      const names = {
        ...{ image: `${field}[${i}]`, mask: `controlnet_masks[${i}]`, preprocessor: 'controlnet_module' },
      };
      c.set('publicNames' as never, names as never);
      const mask = body.controlnet_masks?.[i];
      const request = { image, preprocessor: module, preprocessorOptions, ...(mask && { mask }) };
      const hint = await sidecar.preprocess(request, call);
      images.push(toBase64(hint.data));
    }
    return c.json({ images, info: 'Success' });
  });
  return app;
}
