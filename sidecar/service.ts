import { setMaxListeners } from 'node:events';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type ServerWritableStream,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import type { GenerateEvent } from '../proto/gen/latentedge/v1/GenerateEvent.ts';
import type { GenerateRequest__Output } from '../proto/gen/latentedge/v1/GenerateRequest.ts';
import { type DiffusionHandlers, diffusion, metadataKeys } from '../proto/index.ts';
import type { Engine, GeneratedImage } from './engine/engine.ts';
import { errorCodes, errors, type ServiceError, toServiceError } from './errors.ts';
import { names } from './names.ts';
import { preprocess } from './preprocess.ts';
import { SharedRuns } from './sharing/runs.ts';

export interface CallLog {
  requestId: string;
  method: string;
  /** `ok`, or an error's code. */
  code: string;
  ms: number;
  /** Of a request that was run: model, size, steps. Never a prompt. */
  what?: string;
  error?: ServiceError;
}

type GenerateCall = ServerWritableStream<GenerateRequest__Output, GenerateEvent>;

/**
 * The RPC handlers. `stopping` ends the requests in flight, when they have had their time.
 */
export function diffusionService(
  engine: Engine,
  { log = () => {}, stopping }: { log?: (entry: CallLog) => void; stopping?: AbortSignal } = {},
): DiffusionHandlers {
  // One listener for each call in flight.
  if (stopping) setMaxListeners(0, stopping);
  const runs = new SharedRuns(engine, { stopping });
  return {
    Generate: ((call: GenerateCall) =>
      void generate(engine, runs, call, log, stopping)) as handleServerStreamingCall<
      GenerateRequest__Output,
      GenerateEvent
    >,
    ListModels: unary(async () => ({ models: await engine.models() })),
    DeviceInfo: unary(async () => engine.info()),
    ListNames: unary(() => names(engine)),
    Preprocess: unary(preprocess),
  };

  /** A handler that answers with what `work` gives, or with its error. */
  function unary<Request, Reply>(
    work: (request: Request) => Promise<Reply>,
  ): handleUnaryCall<Request, Reply> {
    return ({ request }, reply) => {
      work(request).then(
        (answer) => reply(null, answer),
        async (thrown) => {
          const error = toServiceError(thrown);
          reply(statusOf(error, await engine.publicMessage(error.message)));
        },
      );
    };
  }
}

async function generate(
  engine: Engine,
  runs: SharedRuns,
  call: GenerateCall,
  log: (entry: CallLog) => void,
  stopping: AbortSignal | undefined,
): Promise<void> {
  const began = performance.now();
  const requestId = call.metadata.get(metadataKeys.requestId)[0]?.toString().slice(0, 128) ?? '-';
  const done = (code: string, rest: Partial<CallLog> = {}) =>
    log({ requestId, method: 'Generate', code, ms: performance.now() - began, ...rest });
  const left = new AbortController();
  let stop = () => {};
  // Answered at once: the step under way may take longer than there is time for.
  const stopped = new Promise<never>((_, reject) => {
    stop = () => {
      left.abort(stopping!.reason);
      reject(stopping!.reason);
    };
  });
  stopping?.addEventListener('abort', stop);
  call.on('cancelled', () =>
    left.abort(deadlinePassed(call) ? errors.deadlineExceeded() : errors.cancelled()),
  );
  try {
    const generating = runs.generate(call.request, {
      idempotencyKey: call.metadata.get(metadataKeys.idempotencyKey)[0]?.toString().slice(0, 128),
      bytes: () => diffusion.service.Generate.requestSerialize(call.request),
      signal: left.signal,
      onQueued: (position) => call.write({ queued: { position } }),
      onProgress: ({ step, total, stepMs, previews }) => {
        if (left.signal.aborted) return;
        // A caller who reads slowly gets fewer previews, rather than a pile of them.
        const shown = call.writableNeedDrain ? [] : previews;
        call.write({ progress: { step, total, stepMs, previews: shown.map(imageMessage) } });
      },
    });
    const { images, effective, timings, textTokens } = await Promise.race([generating, stopped]);
    call.write({ result: { images: images.map(imageMessage), effective, timings, textTokens } });
    call.end();
    done('ok', {
      what: `${effective.model} ${effective.width}x${effective.height} ${images.length}×${effective.stepsRun}`,
    });
  } catch (thrown) {
    const error = toServiceError(thrown);
    done(error.code, { error });
    call.emit('error', statusOf(error, await engine.publicMessage(error.message)));
  } finally {
    stopping?.removeEventListener('abort', stop);
  }
}

function imageMessage({ file, format, width, height, seed, index, latents }: GeneratedImage) {
  const tensor = latents && {
    name: 'latents',
    dtype: 'F32',
    shape: latents.shape,
    data: Buffer.from(latents.data.buffer, latents.data.byteOffset, latents.data.byteLength),
  };
  return { data: file, format, width, height, seed, index, latents: tensor };
}

/** An error as a call's status, with what an HTTP edge needs of it in the trailers. */
function statusOf({ code, field, retryAfterMs }: ServiceError, message: string): StatusObject {
  const { grpc, http } = errorCodes[code];
  const metadata = new Metadata();
  metadata.set(metadataKeys.errorCode, code);
  metadata.set(metadataKeys.httpStatus, String(http));
  if (field) metadata.set(metadataKeys.errorField, field);
  if (retryAfterMs) metadata.set(metadataKeys.retryAfterMs, String(retryAfterMs));
  return { code: status[grpc], details: message, metadata };
}

function deadlinePassed(call: GenerateCall): boolean {
  return Number(call.getDeadline()) <= Date.now();
}
