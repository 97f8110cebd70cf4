import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import { toBase64 } from '../base64.ts';
import { ApiError, fromZod, invalid } from '../errors.ts';
import { errorReplies } from '../schema/common.ts';
import { effectiveOf, usageOf } from '../schema/from-sidecar.ts';
import { type GenerationBody, generationBody, imagesReply } from '../schema/generation.ts';
import { toGenerateRequest } from '../schema/to-sidecar.ts';
import type { GenerateEvent, Result, SidecarClient } from '../sidecar/client.ts';
import { imageStream } from './image-stream.ts';

const MAX_BODY_BYTES = 1024 * 1024;

const requireJson = createMiddleware(async (c, next) => {
  const type = c.req.header('content-type') ?? '';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ApiError(
      415,
      'unsupported_media_type',
      `Expected content-type application/json but received ${type || 'none'}`,
    );
  }
  await next();
});

const limitBody = bodyLimit({
  maxSize: MAX_BODY_BYTES,
  onError: () => {
    throw new ApiError(413, 'body_too_large', `Expected a body of at most ${MAX_BODY_BYTES} bytes`);
  },
});

const generations = createRoute({
  method: 'post',
  path: '/v1/images/generations',
  summary: 'Make images from text',
  description:
    'OpenAI’s Images API. With `stream`, server-sent events: `image_generation.progress`, `.partial_image`, `.completed`, or `error`. With `Accept: image/png`, the picture itself (n = 1).',
  middleware: [requireJson, limitBody] as const,
  request: { body: { required: true, content: { 'application/json': { schema: generationBody } } } },
  responses: {
    200: {
      description: 'The images.',
      content: {
        'application/json': { schema: imagesReply },
        'text/event-stream': { schema: z.string() },
        'image/png': { schema: z.string().openapi({ format: 'binary' }) },
      },
    },
    ...errorReplies,
  },
});

export interface ImagesOptions {
  sidecar: SidecarClient;
  /** Milliseconds a request may take, waiting included. */
  timeoutMs: number;
  /** Milliseconds a streamed reply waits for the work to begin. */
  holdMs?: number | undefined;
}

/** POST /v1/images/generations */
export function images({ sidecar, timeoutMs, holdMs }: ImagesOptions): OpenAPIHono {
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (!result.success) throw fromZod(result.error, (result as { data?: unknown }).data);
    },
  });
  return app.openapi(generations, async (c) => {
    const body = c.req.valid('json');
    const { request, ignored } = toGenerateRequest(body);
    const wantsPng = acceptsPng(c, body);
    // Fires when the client leaves: by the request's own signal, or when the reply's stream is let go.
    const left = new AbortController();
    const events = sidecar.generate(request, {
      signal: AbortSignal.any([c.req.raw.signal, left.signal]),
      requestId: c.get('requestId' as never),
      timeoutMs,
    });
    if (body.stream) {
      const progress = body.progress ?? true;
      const onLeave = () => left.abort();
      return (await imageStream(c, events, { progress, ignored, onLeave, holdMs })) as never;
    }
    const result = await resultOf(events);
    return (wantsPng ? pngReply(c, result, ignored) : c.json(reply(result, ignored), 200)) as never;
  }) as unknown as OpenAPIHono;
}

function acceptsPng(c: Context, body: GenerationBody): boolean {
  const accept = c.req.header('accept') ?? '';
  if (!/\bimage\/(png|\*)/i.test(accept) || /\bapplication\/json\b/i.test(accept)) return false;
  if ((body.n ?? 1) !== 1) throw invalid('n', '1, with Accept: image/png,', body.n);
  if (body.stream) throw invalid('stream', 'false, with Accept: image/png,', true);
  return true;
}

async function resultOf(events: AsyncIterable<GenerateEvent>): Promise<Result> {
  for await (const { result } of events) if (result) return result;
  throw new ApiError(500, 'internal', 'The sidecar ended the call without a result');
}

function pngReply(c: Context, { images, effective }: Result, ignored: string[]): Response {
  const image = images[0]!;
  // Names alone, and what a header can hold of them: the reasons are in the JSON reply.
  const names = [...(effective?.ignored ?? []), ...ignored].map((line) =>
    line.split(':', 1)[0]!.replace(/[^\w.-]/g, '?'),
  );
  // A copy: the bytes may be a view into a larger message.
  return c.body(new Uint8Array(image.data), 200, {
    'content-type': 'image/png',
    'x-seed': String(image.seed),
    ...(names.length > 0 && { 'x-ignored': names.join(', ') }),
  });
}

function reply(result: Result, ignored: string[]) {
  const { width, height } = result.effective!;
  return {
    created: Math.floor(Date.now() / 1000),
    data: result.images.map(({ data, seed }) => ({ b64_json: toBase64(data), seed })),
    size: `${width}x${height}`,
    output_format: 'png' as const,
    usage: usageOf(result),
    effective: effectiveOf(result.effective!, ignored),
  };
}
