import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { FIELD, placesOf, unitsOf, withAddresses } from '../../a1111/control.ts';
import { fileText } from '../../a1111/file-text.ts';
import { infoOf } from '../../a1111/info.ts';
import { withOwnSchedule } from '../../a1111/own-schedule.ts';
import { a1111Names } from '../../a1111/public-names.ts';
import { imagesReply, img2imgBody, type Txt2ImgBody, txt2imgBody } from '../../a1111/schema.ts';
import { type Task, watched } from '../../a1111/tasks.ts';
import {
  fromImg2Img,
  fromTxt2Img,
  modelOf,
  needsModelSize,
  type Translated,
  type Translation,
} from '../../a1111/to-sidecar.ts';
import { ApiError } from '../../errors.ts';
import { limitsOf } from '../../guard/caller.ts';
import { drawSeed, idempotencyKey } from '../../idempotency.ts';
import { FileText, jsonBytes } from '../../json-bytes.ts';
import { leavingWith } from '../../leaving.ts';
import { type FetchPicture, withPictures } from '../../pictures.ts';
import { errorReplies, json } from '../../schema/common.ts';
import { type GenerateRequest, type Names, type Result, SidecarError } from '../../sidecar/client.ts';
import { traceOf } from '../../tracing.ts';
import { jsonBody, limitBody, requireType } from '../body.ts';
import { LISTING_MS } from './lists.ts';
import { type A1111Options, deskOf } from './options.ts';

const routeOf = (path: string, summary: string, schema: typeof txt2imgBody | typeof img2imgBody) =>
  createRoute({
    method: 'post',
    path,
    summary,
    description: 'As in AUTOMATIC1111’s web UI; ControlNet units in `alwayson_scripts.ControlNet.args`.',
    request: { body: { required: true, content: { 'application/json': { schema } } } },
    responses: { 200: json(imagesReply, 'The images.'), ...errorReplies },
  });

/** POST /sdapi/v1/txt2img and img2img */
export function a1111Images(options: A1111Options): OpenAPIHono {
  const app = new OpenAPIHono();
  const before = [requireType('application/json'), limitBody(options.limits.imageBodyBytes)] as const;

  const txt2img = routeOf('/sdapi/v1/txt2img', 'Make images from text', txt2imgBody);
  app.openAPIRegistry.registerPath(txt2img);
  app.post(txt2img.path, ...before, async (c) => {
    const sent = await sized(c, await jsonBody(c, txt2imgBody), options);
    const { body, units } = await fetched(sent, options.fetchPicture);
    return answer(c, { body, units }, (translation) => fromTxt2Img(body, translation), options);
  });

  const img2img = routeOf('/sdapi/v1/img2img', 'Make images from a picture', img2imgBody);
  app.openAPIRegistry.registerPath(img2img);
  app.post(img2img.path, ...before, async (c) => {
    const { body, units } = await fetched(await jsonBody(c, img2imgBody), options.fetchPicture);
    return answer(c, { body, units }, (translation) => fromImg2Img(body, translation), options);
  });
  return app;
}

type Body = Parameters<typeof fromTxt2Img>[0] | Parameters<typeof fromImg2Img>[0];

/** A body and its units, with pictures in place of their addresses. */
async function fetched<Sent extends Body>(sent: Sent, fetchPicture: FetchPicture | undefined) {
  checkScripts(sent);
  const units = withAddresses(unitsOf(sent.alwayson_scripts));
  const all = await withPictures({ ...sent, [FIELD]: units }, fetchPicture);
  const { [FIELD]: fetchedUnits, ...body } = all as Sent & Record<typeof FIELD, unknown[]>;
  return { body: body as unknown as Sent, units: fetchedUnits };
}

/** With the model's size, where that of a second pass is to be reckoned from it. */
async function sized(c: Context, body: Txt2ImgBody, { sidecar, desks }: A1111Options): Promise<Txt2ImgBody> {
  if (!needsModelSize(body)) return body;
  const wanted = modelOf(body, deskOf(c, desks));
  const models = await sidecar.listModels({ signal: c.req.raw.signal, timeoutMs: LISTING_MS });
  const model = models.find(({ name, isDefault }) => (wanted ? name === wanted : isDefault));
  // One that is not there is the sidecar's to refuse, and needs no size.
  const { width, height } = model ?? { width: 512, height: 512 };
  return { ...body, width: body.width ?? width, height: body.height ?? height };
}

async function answer(
  c: Context,
  { body, units }: { body: Body; units: unknown[] },
  translate: (translation: Translation) => Translated,
  { sidecar, limits, timeoutMs, desks }: A1111Options,
): Promise<Response> {
  const desk = deskOf(c, desks);
  c.set('publicNames', a1111Names(placesOf(units), FIELD));
  const requestId = c.get('requestId' as never) as string;
  const trace = traceOf(c);
  const call = { signal: c.req.raw.signal, requestId, trace };
  const names = units.length > 0 ? await sidecar.listNames({ ...call, timeoutMs: LISTING_MS }) : NO_NAMES;
  const key = await idempotencyKey(c);
  const { request, ignored } = translate({
    ...{ limits: limitsOf(c, limits), desk, drawn: drawSeed(key), units, names },
  });
  const stopped = leavingWith(c.req.raw.signal);
  const task: Task = {
    ...{ id: requestId, began: Date.now(), step: 0, total: request.steps ?? 0, previews: [] },
    ...{ images: request.count ?? 1, interrupted: false },
    interrupt: () => {
      task.interrupted = true;
      // A Worker may not reach from one request into another; there it ends with the next event.
      try {
        stopped.abort();
      } catch {}
    },
  };
  const run = (each: GenerateRequest) =>
    sidecar.generate(each, {
      ...{ signal: stopped.signal, requestId, trace, timeoutMs, isSeeded: (body.seed ?? -1) >= 0 },
      // Without its schedule it is another request.
      idempotencyKey: key && (each === request ? key : `${key}-own-schedule`),
    });
  const events = withOwnSchedule(request, run, {
    names: () => sidecar.listNames({ ...call, timeoutMs: LISTING_MS }),
    ignored,
  });
  let result: Result | undefined;
  try {
    for await (const event of watched(desk, task, events)) result = event.result ?? result;
  } catch (error) {
    if (!task.interrupted) throw samplerNotFound(error);
  }
  if (!result && !task.interrupted)
    throw new ApiError(500, 'internal', 'The sidecar ended the call without a result');
  // Who interrupts gets what there was.
  const images = result?.images ?? task.previews;
  const infotexts = images.map(({ data }) => fileText(data) ?? '');
  const info = infoOf(body, request, result?.effective ?? undefined, { infotexts, ignored, images });
  const reply = {
    images: body.send_images === false ? [] : images.map(({ data }) => new FileText(data)),
    parameters: withoutPictures(body),
    info: JSON.stringify(info),
  };
  return c.body(jsonBytes(reply), 200, { 'content-type': 'application/json' });
}

const NO_NAMES: Names = {
  ...{ samplers: [], schedules: [], preprocessors: [], adapters: [], hiresUpscalers: [], embeddings: [] },
};

/** As that UI: scripts that are not there are refused. */
function checkScripts({ script_name, alwayson_scripts }: Body): void {
  if (script_name) throw scriptNotFound('script_name', script_name);
  for (const name of Object.keys(alwayson_scripts ?? {}))
    if (name.toLowerCase() !== 'controlnet') throw scriptNotFound('alwayson_scripts', name);
}

function scriptNotFound(param: string, name: string): ApiError {
  const message = `Expected ControlNet, or no script, for ${param} but received ${JSON.stringify(name)}`;
  return new ApiError(422, 'script_not_found', message, { param });
}

function samplerNotFound(error: unknown): unknown {
  if (!(error instanceof SidecarError) || error.field !== 'sampler' || error.httpStatus !== 400) return error;
  const message = `Sampler not found: ${error.message}`;
  return new ApiError(404, 'sampler_not_found', message, { param: 'sampler_name', cause: error });
}

function withoutPictures(body: Body): Record<string, unknown> {
  const hidden = { init_images: null, mask: null, alwayson_scripts: {} };
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name, name in hidden ? hidden[name as 'mask'] : value]),
  );
}
