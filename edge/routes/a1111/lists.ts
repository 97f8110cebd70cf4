import { OpenAPIHono, type z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { labelOf, latentUpscalers, upscalers } from '../../a1111/names.ts';
import {
  done,
  embeddingsReply,
  emptyList,
  emptyObject,
  lorasReply,
  memoryReply,
  modelsReply,
  namedReply,
  samplersReply,
  schedulersReply,
  scriptInfoReply,
  scriptsReply,
  upscalersReply,
} from '../../a1111/replies.ts';
import type { SidecarClient } from '../../sidecar/client.ts';
import { declare } from './declare.ts';

/** Milliseconds that a listing may take. */
export const LISTING_MS = 10_000;

/** What that UI has and this server has none of. */
const empty = ['hypernetworks', 'face-restorers', 'realesrgan-models', 'prompt-styles', 'sd-vae'];

/**
 * By the second one, which the extension brings along, clients know that it is there: without it `webuiapi` sends the
 * units of one request with all that follow.
 */
const scripts = ['controlnet', 'controlnet m2m'];

/** GET /sdapi/v1/…: what can be named, and what clients ask for before they begin. */
export function a1111Lists(sidecar: SidecarClient): OpenAPIHono {
  const app = new OpenAPIHono();
  const get = (name: string, reply: z.ZodType, list: (c: Context) => unknown) => {
    const path = `/sdapi/v1/${name}`;
    declare(app, { method: 'get', path, summary: `The ${name.replaceAll('-', ' ')}`, reply });
    app.get(path, async (c) => c.json((await list(c)) as object));
  };
  const call = (c: Context) => ({ signal: c.req.raw.signal, timeoutMs: LISTING_MS });
  const upscaler = (name: string) => ({
    ...{ name, model_name: null, model_path: null, model_url: null, scale: 4 },
  });

  get('sd-models', modelsReply, async (c) => {
    const models = await sidecar.listModels(call(c));
    return models
      .filter(({ kind }) => kind === 'latent-diffusion')
      .map(({ name, modelHash }) => ({
        ...{ title: name, model_name: name, filename: name, config: null },
        // That of its tensors, as results have it: no file's.
        ...{ hash: modelHash.slice(0, 10) || null, sha256: null },
      }));
  });
  get('samplers', samplersReply, async (c) => {
    const { samplers } = await sidecar.listNames(call(c));
    return samplers.map((row) => ({
      name: labelOf(row),
      aliases: [row.name, ...row.aliases],
      options: {},
    }));
  });
  get('schedulers', schedulersReply, async (c) => {
    const { schedules } = await sidecar.listNames(call(c));
    return schedules.map((row) => ({
      ...{ name: row.name === 'default' ? 'automatic' : row.name, label: labelOf(row) },
      ...{ aliases: row.aliases, default_rho: -1, need_inner_model: false },
    }));
  });
  get('loras', lorasReply, async (c) => {
    const { adapters } = await sidecar.listNames(call(c));
    return adapters.map((name) => ({ name, alias: name, path: name, metadata: {} }));
  });
  get('embeddings', embeddingsReply, async (c) => {
    const { embeddings } = await sidecar.listNames(call(c));
    const loaded = embeddings.map(({ name, vectors, width: shape }) => [
      name,
      { step: null, sd_checkpoint: null, sd_checkpoint_name: null, shape, vectors },
    ]);
    return { loaded: Object.fromEntries(loaded), skipped: {} };
  });
  get('upscalers', upscalersReply, () =>
    Object.keys(upscalers)
      .filter((name) => !(name in latentUpscalers))
      .map(upscaler),
  );
  get('latent-upscale-modes', namedReply, () => Object.keys(latentUpscalers).map((name) => ({ name })));
  get('scripts', scriptsReply, () => ({ txt2img: scripts, img2img: scripts }));
  get('script-info', scriptInfoReply, () =>
    [false, true].map((is_img2img) => ({ name: 'controlnet', is_alwayson: true, is_img2img, args: [] })),
  );
  get('cmd-flags', emptyObject, () => ({}));
  get('memory', memoryReply, async (c) => {
    const { devices, residentBytes, hostMemoryBytes } = await sidecar.deviceInfo(call(c));
    const gpus = devices.filter(({ id }) => id.startsWith('cuda'));
    const sum = (key: 'memoryTotal' | 'weightsBytes' | 'arenaBytes') =>
      gpus.reduce((bytes, device) => bytes + device[key], 0);
    const of = (total: number, used: number) => ({ total, used, free: Math.max(0, total - used) });
    return {
      ram: of(hostMemoryBytes, residentBytes),
      cuda: { system: of(sum('memoryTotal'), sum('weightsBytes') + sum('arenaBytes')) },
    };
  });
  for (const name of empty) get(name, emptyList, () => []);
  // Folders are looked into anew with each request.
  for (const what of ['checkpoints', 'loras', 'vae', 'embeddings']) {
    const path = `/sdapi/v1/refresh-${what}`;
    declare(app, { method: 'post', path, summary: `Look for ${what} anew`, reply: done });
    app.post(path, (c) => c.json(null));
  }
  return app;
}
