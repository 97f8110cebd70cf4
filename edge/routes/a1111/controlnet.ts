import { OpenAPIHono, z } from '@hono/zod-openapi';
import { optionsOf } from '../../a1111/control.ts';
import { toBase64 } from '../../base64.ts';
import { imageFile } from '../../schema/file.ts';
import { jsonBody, limitBody, requireType } from '../body.ts';
import { LISTING_MS } from './lists.ts';
import type { A1111Options } from './options.ts';

/** Of the extension's API as clients ask for it. */
const VERSION = 3;

const detectBody = z.looseObject({
  controlnet_module: z.string().max(256).nullish(),
  controlnet_images: z.array(imageFile('A picture.')).min(1).max(16),
  controlnet_threshold_a: z.number().nullish(),
  controlnet_threshold_b: z.number().nullish(),
});

/** /controlnet/…: models, modules, and what a module makes of a picture. */
export function a1111ControlNet({ sidecar, limits, timeoutMs }: A1111Options): OpenAPIHono {
  const app = new OpenAPIHono();
  app.get('/controlnet/version', (c) => c.json({ version: VERSION }));
  app.get('/controlnet/settings', (c) => c.json({ control_net_unit_count: 8 }));
  app.get('/controlnet/model_list', async (c) => {
    const models = await sidecar.listModels({ signal: c.req.raw.signal, timeoutMs: LISTING_MS });
    const names = models.filter(({ kind }) => kind === 'controlnet').map(({ name }) => name);
    return c.json({ model_list: names });
  });
  app.get('/controlnet/module_list', async (c) => {
    const { preprocessors } = await sidecar.listNames({ signal: c.req.raw.signal, timeoutMs: LISTING_MS });
    const detail = preprocessors.map(({ name, options }) => [
      name,
      {
        model_free: false,
        sliders: options.map(({ name, defaultValue, min, max }) => ({
          ...{ name, value: defaultValue, min, max },
        })),
      },
    ]);
    return c.json({
      module_list: preprocessors.map(({ name }) => name),
      module_detail: Object.fromEntries(detail),
    });
  });
  app.post(
    '/controlnet/detect',
    requireType('application/json'),
    limitBody(limits.imageBodyBytes),
    async (c) => {
      const { controlnet_module, controlnet_images, ...sliders } = await jsonBody(c, detectBody);
      const module = controlnet_module ?? 'none';
      const call = { signal: c.req.raw.signal, timeoutMs, requestId: c.get('requestId' as never) as string };
      const { preprocessors } = await sidecar.listNames(call);
      const values = [sliders.controlnet_threshold_a, sliders.controlnet_threshold_b];
      const preprocessorOptions = optionsOf(module, values, preprocessors);
      const images: string[] = [];
      for (const image of controlnet_images) {
        const hint = await sidecar.preprocess({ image, preprocessor: module, preprocessorOptions }, call);
        images.push(toBase64(hint.data));
      }
      return c.json({ images, info: 'Success' });
    },
  );
  return app;
}
