import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import { ApiError, toApiError } from '../errors.ts';
import { FileText, jsonBytes } from '../json-bytes.ts';
import { toOutputFormat } from '../schema/formats.ts';
import { effectiveOf, usageOf } from '../schema/from-sidecar.ts';
import type { GenerateEvent, Image, Result } from '../sidecar/client.ts';

const KEEP_ALIVE_MS = 15_000;
/** How long the reply waits for the work to begin. */
const HOLD_MS = 10_000;

export interface StreamOptions {
  /** What the events' names begin with. */
  event: 'image_generation' | 'image_edit';
  /** Send an event for each step, which OpenAI's clients do not know; else a comment. */
  progress: boolean;
  /** What the edge itself has set aside. */
  ignored: string[];
  /** Called when the client stops reading. */
  onLeave: () => void;
  /** Milliseconds that the reply waits for the work to begin; default: ten seconds. */
  holdMs?: number | undefined;
}

/**
 * The sidecar's events as server-sent events. The reply begins with the first step, or without it when that is long
 * in coming: what fails before fails as a plain reply with its own status; later, as `event: error`.
 */
export async function imageStream(
  c: Context,
  events: AsyncIterable<GenerateEvent>,
  options: StreamOptions,
): Promise<Response> {
  const { event } = options;
  const iterator = events[Symbol.asyncIterator]();
  const first = await untilBegun(iterator, options.holdMs ?? HOLD_MS);
  const reply = streamSSE(c, async (stream) => {
    const send = (type: string, fields: object) =>
      stream.write(jsonBytes({ type, ...fields }, `event: ${type}\ndata: `, '\n\n'));
    const keepAlive = setInterval(() => void stream.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
    stream.onAbort(options.onLeave);
    let partials = 0;
    try {
      let result: Result | undefined;
      for (let next = await first.event; !next.done; next = await iterator.next()) {
        const { progress } = next.value;
        result = next.value.result ?? result;
        if (!progress) continue;
        const { step, total, stepMs } = progress;
        if (options.progress) await send(`${event}.progress`, { step, total, step_ms: stepMs });
        // Workers learn that a client is gone when they write to it.
        else await stream.write(`: step ${step}/${total}\n\n`);
        for (const [i, image] of progress.previews.entries())
          await send(`${event}.partial_image`, {
            ...picture(image, i),
            partial_image_index: partials,
          });
        if (progress.previews.length > 0) partials++;
      }
      if (!result) throw new ApiError(500, 'internal', 'The sidecar ended the call without a result');
      const usage = usageOf(result);
      const effective = effectiveOf(result.effective!, options.ignored);
      for (const [i, image] of result.images.entries())
        await send(`${event}.completed`, { ...picture(image, i), usage, effective });
    } catch (error) {
      if (!stream.aborted)
        await stream.writeSSE({
          event: 'error',
          data: JSON.stringify(toApiError(error, c.get('publicNames' as never)).body()),
        });
    } finally {
      clearInterval(keepAlive);
      await iterator.return?.();
    }
  });
  // Hono says keep-alive to everybody, also to a client that wants the connection closed.
  reply.headers.delete('connection');
  return reply;
}

/** The first event that is not `queued`; after `holdMs` whichever comes next, still to be waited for. */
async function untilBegun(
  iterator: AsyncIterator<GenerateEvent>,
  holdMs: number,
): Promise<{ event: Promise<IteratorResult<GenerateEvent>> }> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), holdMs);
  });
  try {
    for (;;) {
      const event = iterator.next();
      const next = await Promise.race([event, late]);
      // Whoever awaits it gets the error.
      if (next === 'late') event.catch(() => {});
      if (next === 'late' || next.done || !next.value.queued) return { event };
    }
  } finally {
    clearTimeout(timer);
  }
}

function picture(image: Image, index: number) {
  return {
    b64_json: new FileText(image.data),
    created_at: Math.floor(Date.now() / 1000),
    size: `${image.width}x${image.height}`,
    quality: 'auto',
    background: 'opaque',
    output_format: toOutputFormat(image.format),
    seed: image.seed,
    image_index: index,
  };
}
