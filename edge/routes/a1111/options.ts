import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { done, optionsReply } from '../../a1111/replies.ts';
import type { Desk, Desks } from '../../a1111/tasks.ts';
import { ApiError } from '../../errors.ts';
import { callerOf } from '../../guard/caller.ts';
import type { Limits } from '../../limits.ts';
import type { FetchPicture } from '../../pictures.ts';
import type { SidecarClient } from '../../sidecar/client.ts';
import { jsonBody, limitBody, requireType } from '../body.ts';
import { declare } from './declare.ts';
import { LISTING_MS } from './lists.ts';

export interface A1111Options {
  sidecar: SidecarClient;
  limits: Limits;
  fetchPicture?: FetchPicture | undefined;
  timeoutMs: number;
  desks: Desks;
}

/** Bytes of a body without pictures. */
const MAX_BYTES = 2 ** 20;

export const deskOf = (c: Context, desks: Desks): Desk => desks.of(callerOf(c).name);

const optionsBody = z.looseObject({ sd_model_checkpoint: z.string().max(256).nullish() });

/** GET and POST /sdapi/v1/options: of the caller alone. */
export function a1111Settings({ sidecar, desks }: A1111Options): OpenAPIHono {
  const app = new OpenAPIHono();
  const models = async (c: Context) =>
    (await sidecar.listModels({ signal: c.req.raw.signal, timeoutMs: LISTING_MS })).filter(
      ({ kind }) => kind === 'latent-diffusion',
    );

  const path = '/sdapi/v1/options';
  declare(app, { method: 'get', path, summary: 'The caller’s settings', reply: optionsReply });
  app.get(path, async (c) => {
    const { model } = deskOf(c, desks);
    const found = await models(c);
    const chosen = found.find(({ name, isDefault }) => (model ? name === model : isDefault)) ?? found[0];
    return c.json({
      sd_model_checkpoint: chosen?.name ?? null,
      sd_checkpoint_hash: null,
      sd_vae: 'Automatic',
      samples_format: 'png',
      CLIP_stop_at_last_layers: 1,
      enable_pnginfo: true,
      randn_source: 'CPU',
    });
  });

  declare(app, { method: 'post', path, summary: 'Choose the model', body: optionsBody, reply: done });
  app.post(path, requireType('application/json'), limitBody(MAX_BYTES), async (c) => {
    const body = await jsonBody(c, optionsBody);
    const wanted = body.sd_model_checkpoint?.replace(/ \[[0-9a-f]+\]$/, '');
    if (wanted) {
      const found = (await models(c)).find(({ name }) => name.toLowerCase() === wanted.toLowerCase());
      if (!found)
        throw new ApiError(404, 'model_not_found', `There is no model ${JSON.stringify(wanted)}`, {
          param: 'sd_model_checkpoint',
        });
      deskOf(c, desks).model = found.name;
    }
    return c.json(null);
  });
  return app;
}
