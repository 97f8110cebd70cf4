import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { withoutHash } from '../../a1111/names.ts';
import { done, optionsReply } from '../../a1111/replies.ts';
import { fromSettings, isSetting } from '../../a1111/settings.ts';
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

/** Names of settings without effect that are kept of a caller, for the replies that tell of them. */
const MAX_IDLE = 16;

/** What the other settings are, as far as clients ask. */
const fixed: Record<string, unknown> = {
  ...{ sd_checkpoint_hash: null, sd_vae: 'Automatic', enable_pnginfo: true, randn_source: 'CPU' },
};

const optionsBody = z.looseObject({
  sd_model_checkpoint: z.string().max(256).nullish(),
  CLIP_stop_at_last_layers: z.int().min(1).max(12).nullish(),
  samples_format: z.string().max(16).nullish().openapi({ description: 'png, jpg or webp.' }),
  jpeg_quality: z.int().min(1).max(100).nullish(),
});

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
    const { settings } = deskOf(c, desks);
    const found = await models(c);
    const model = settings.sd_model_checkpoint;
    const chosen = found.find(({ name, isDefault }) => (model ? name === model : isDefault)) ?? found[0];
    return c.json({
      ...{ samples_format: 'png', CLIP_stop_at_last_layers: 1, jpeg_quality: 100, ...settings, ...fixed },
      sd_model_checkpoint: chosen?.name ?? null,
    });
  });

  declare(app, {
    method: 'post',
    path,
    summary: 'Choose the model, and how files are written',
    body: optionsBody,
    reply: done,
  });
  app.post(path, requireType('application/json'), limitBody(MAX_BYTES), async (c) => {
    const { sd_model_checkpoint, ...body } = await jsonBody(c, optionsBody);
    const desk = deskOf(c, desks);
    const given = Object.entries(body).filter(([, value]) => value !== null);
    const settings = Object.fromEntries(given.filter(([name]) => isSetting(name)));
    fromSettings(settings);
    const wanted = withoutHash(sd_model_checkpoint ?? '');
    if (wanted) {
      const found = (await models(c)).find(({ name }) => name.toLowerCase() === wanted.toLowerCase());
      if (!found)
        throw new ApiError(404, 'model_not_found', `There is no model ${JSON.stringify(wanted)}`, {
          param: 'sd_model_checkpoint',
        });
      settings.sd_model_checkpoint = found.name;
    }
    Object.assign(desk.settings, settings);
    const others = given.filter(([name, value]) => !isSetting(name) && fixed[name] !== value);
    const idle = others.map(([name]) => `options.${name.slice(0, 64)}: not here`);
    desk.idle = [...new Set([...desk.idle, ...idle])].slice(0, MAX_IDLE);
    return c.json(null);
  });
  return app;
}
