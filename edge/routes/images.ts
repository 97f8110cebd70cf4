import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { placeOf } from '../cache/replies.ts';
import type { ResultCache, StoredResult } from '../cache/results.ts';
import { ApiError, invalid } from '../errors.ts';
import { FileText, jsonBytes } from '../json-bytes.ts';
import { leavingWith } from '../leaving.ts';
import type { Limits } from '../limits.ts';
import type { FetchPicture } from '../pictures.ts';
import { type OutputFormat, toImageFormat, toOutputFormat } from '../schema/formats.ts';
import { effectiveOf, usageOf } from '../schema/from-sidecar.ts';
import type { GenerationBody } from '../schema/generation.ts';
import { type ImagesReply, imagesReply } from '../schema/replies.ts';
import type { GenerateEvent, GenerateRequest, Result, SidecarClient } from '../sidecar/client.ts';
import { traceOf } from '../tracing.ts';
import { imageStream } from './image-stream.ts';

export interface ImagesOptions {
  sidecar: SidecarClient;
  limits: Limits;
  /** Where results of seeded requests are kept; none: nowhere. */
  cache?: ResultCache | undefined;
  /** Fetches pictures that stand in bodies by address; none: they are refused. */
  fetchPicture?: FetchPicture | undefined;
  /** Milliseconds a request may take, waiting included. */
  timeoutMs: number;
  /** Milliseconds a streamed reply waits for the work to begin. */
  holdMs?: number | undefined;
}

/** What a route has made of its body. */
export interface ImagesRequest {
  request: GenerateRequest;
  /** What the edge itself has set aside. */
  ignored: string[];
  idempotencyKey: string | undefined;
  /** What the events of a stream begin with. */
  event: 'image_generation' | 'image_edit';
}

const file = { schema: z.string().openapi({ format: 'binary' }) };

/** The successful reply of routes that make images, for the API's documentation. */
export const imagesContent = {
  description: 'The images.',
  content: {
    'application/json': { schema: imagesReply },
    'text/event-stream': { schema: z.string() },
    'image/png': file,
    'image/jpeg': file,
    'image/webp': file,
  },
};

/** Runs a request and answers as its body and its Accept header ask: JSON, events, or the picture itself. */
export async function imagesResponse(
  c: Context,
  body: Pick<GenerationBody, 'n' | 'seed' | 'stream' | 'progress' | 'output_format' | 'response_format'>,
  { request: asked, ignored, event, idempotencyKey }: ImagesRequest,
  { sidecar, cache, timeoutMs, holdMs }: ImagesOptions,
): Promise<Response> {
  const picture = acceptedPicture(c, body);
  const request = picture ? { ...asked, format: toImageFormat(picture) } : asked;
  const asUrls = body.response_format === 'url';
  const answer = ({ result, ignored, created }: StoredResult) =>
    picture ? pictureReply(c, result, ignored) : jsonReply(c, reply(result, ignored, { asUrls, created }));
  // A stream is for who wants to see how it comes about.
  const isSeeded = body.seed !== undefined && body.seed !== null;
  const place = isSeeded && !body.stream ? await placeOf(c, cache, request, ignored) : undefined;
  const representation = picture ?? (asUrls ? 'url' : 'json');
  if (place?.stored) {
    place.mark(c, place.stored, representation);
    return answer(place.stored);
  }
  // When the client leaves: by the request's own signal, or, of a stream, when it is let go.
  const left = leavingWith(c.req.raw.signal);
  const events = sidecar.generate(request, {
    signal: left.signal,
    requestId: c.get('requestId' as never),
    trace: traceOf(c),
    ...{ timeoutMs, idempotencyKey, isSeeded },
  });
  if (body.stream) {
    const progress = body.progress ?? false;
    const onLeave = () => left.abort();
    const ignoredInStream = asUrls ? ['response_format: not with stream'] : [];
    return imageStream(c, events, {
      ...{ event, progress, onLeave, holdMs },
      ignored: [...ignored, ...ignoredInStream],
    });
  }
  const result = await resultOf(events);
  const made = { result, ignored, created: Math.floor(Date.now() / 1000) };
  if (place && result.effective!.modelHash) {
    await place.keep(made);
    place.mark(c, made, representation);
  }
  return answer(made);
}

/** A result as the Accept header asks: the picture itself, or JSON. */
export function resultResponse(
  c: Context,
  result: Result,
  ignored: string[],
  created = Math.floor(Date.now() / 1000),
): Response {
  if (representationOf(c, result) !== 'json') return pictureReply(c, result, ignored);
  return jsonReply(c, reply(result, ignored, { asUrls: false, created }));
}

export function representationOf(c: Context, { images }: Result): string {
  const output_format = toOutputFormat(images[0]!.format);
  return acceptedPicture(c, { n: images.length, output_format }) ?? 'json';
}

/** The format of the picture that the client wants in place of JSON, if it does. */
function acceptedPicture(
  c: Context,
  { n, stream, output_format }: Partial<Pick<GenerationBody, 'n' | 'stream' | 'output_format'>>,
): OutputFormat | undefined {
  const accept = c.req.header('accept') ?? '';
  if (/\bapplication\/json\b/i.test(accept)) return undefined;
  const accepted = [...accept.matchAll(/\bimage\/(png|jpeg|webp|\*)/gi)].map(([, type]) =>
    type!.toLowerCase(),
  );
  if (accepted.length === 0) return undefined;
  if ((n ?? 1) !== 1) throw invalid('n', `1, with Accept: ${accept},`, n);
  if (stream) throw invalid('stream', `false, with Accept: ${accept},`, true);
  const isAny = accepted.includes('*');
  if (output_format && !isAny && !accepted.includes(output_format))
    throw invalid('output_format', `one of Accept: ${accept}`, output_format);
  return output_format ?? (isAny ? 'png' : (accepted[0] as OutputFormat));
}

/** Reads to the end: a call that is left is reset, and of a thousand resets an HTTP/2 server closes the connection. */
async function resultOf(events: AsyncIterable<GenerateEvent>): Promise<Result> {
  let last: Result | undefined;
  for await (const { result } of events) last = result ?? last;
  if (last) return last;
  throw new ApiError(500, 'internal', 'The sidecar ended the call without a result');
}

function pictureReply(c: Context, { images, effective }: Result, ignored: string[]): Response {
  const image = images[0]!;
  // Names alone, and what a header can hold of them: the reasons are in the JSON reply.
  const names = effectiveOf(effective!, ignored).ignored.map((line) =>
    line.split(':', 1)[0]!.replace(/[^\w.-]/g, '?'),
  );
  return c.body(image.data as Uint8Array<ArrayBuffer>, 200, {
    'content-type': `image/${toOutputFormat(image.format)}`,
    'x-seed': String(image.seed),
    ...(names.length > 0 && { 'x-ignored': names.join(', ') }),
  });
}

/** A reply with its files yet to be written as text. */
type Written<Reply extends { data: unknown[] }> = Omit<Reply, 'data'> & {
  data: { b64_json?: FileText; url?: FileText; seed: number }[];
};

function jsonReply(c: Context, reply: Written<ImagesReply>): Response {
  return c.body(jsonBytes(reply), 200, { 'content-type': 'application/json' });
}

function reply(
  result: Result,
  ignored: string[],
  { asUrls, created }: { asUrls: boolean; created: number },
): Written<ImagesReply> {
  const { width, height } = result.images[0]!;
  const effective = effectiveOf(result.effective!, ignored);
  const { output_format } = effective;
  return {
    created,
    data: result.images.map(({ data, seed }) => {
      return asUrls
        ? { url: new FileText(data, `data:image/${output_format};base64,`), seed }
        : { b64_json: new FileText(data), seed };
    }),
    size: `${width}x${height}`,
    background: 'opaque',
    output_format,
    usage: usageOf(result),
    effective,
  };
}
