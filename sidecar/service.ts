import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js';
import type { DenoiseEvent } from '../proto/gen/latentedge/v1/DenoiseEvent.ts';
import type { DenoiseRequest__Output } from '../proto/gen/latentedge/v1/DenoiseRequest.ts';
import type { GenerateEvent } from '../proto/gen/latentedge/v1/GenerateEvent.ts';
import type { GenerateRequest__Output } from '../proto/gen/latentedge/v1/GenerateRequest.ts';
import { type DiffusionHandlers, diffusion, metadataKeys } from '../proto/index.ts';
import type { Tracing } from '../proto/tracing/index.ts';
import { type Attended, type CallLog, Calls, isLook } from './calls.ts';
import { heldBytes } from './engine/admission/held-bytes.ts';
import { hostMemory } from './engine/admission/host-memory.ts';
import type { Engine, GeneratedImage, PartOptions } from './engine/engine.ts';
import { parseRequest } from './engine/request.ts';
import { decodePart, encodePart } from './engine/tensors/autoencoder.ts';
import { denoisePart } from './engine/tensors/denoise.ts';
import type { Part } from './engine/tensors/part.ts';
import type { Floats } from './engine/tensors/tensor.ts';
import { encodeTextPart } from './engine/tensors/text.ts';
import type { Metrics } from './metrics.ts';
import { names } from './names.ts';
import { Preprocessing } from './preprocess.ts';
import { SharedRuns } from './sharing/runs.ts';

export interface ServiceOptions {
  /** Receives each call that made work, and each that failed. */
  log?: ((entry: CallLog) => void) | undefined;
  /** Ends the requests in flight, when they have had their time. */
  stopping?: AbortSignal | undefined;
  /** Whether the sidecar is warm, and not being stopped. */
  isReady?: () => boolean;
  metrics?: Metrics | undefined;
  tracing?: Tracing | undefined;
  /** Whether prompts may stand in the log. */
  logPrompts?: boolean | undefined;
}

export interface Service {
  handlers: DiffusionHandlers;
  calls: Calls;
}

type GenerateCall = ServerWritableStream<GenerateRequest__Output, GenerateEvent>;
type DenoiseCall = ServerWritableStream<DenoiseRequest__Output, DenoiseEvent>;

/** The RPC handlers. */
export function diffusionService(
  engine: Engine,
  { log = () => {}, stopping, isReady = () => true, metrics, tracing, logPrompts }: ServiceOptions = {},
): Service {
  const runs = new SharedRuns(engine, { stopping });
  const preprocessing = new Preprocessing();
  const calls = new Calls({
    log(entry) {
      metrics?.call(entry);
      // What only looks is asked for again and again: of that, failures alone are of interest.
      if (entry.code !== 'ok' || !isLook(entry.method)) log(entry);
    },
    ...{ stopping, tracing },
    publicMessage: (text) => engine.publicMessage(text),
  });

  /** A handler that answers with what `work` gives, or with its error. */
  const unary =
    <Request, Reply>(method: string, work: (request: Request, attended: Attended) => Promise<Reply>) =>
    (call: ServerUnaryCall<Request, Reply>, reply: sendUnaryData<Reply>) => {
      calls
        .attend(method, call, (attended) => work(call.request, attended))
        .then(
          (answer) => reply(null, answer),
          (status) => reply(status),
        );
    };
  const stream =
    <Request, Event>(
      method: string,
      work: (call: ServerWritableStream<Request, Event>, attended: Attended) => Promise<void>,
    ) =>
    (call: ServerWritableStream<Request, Event>) => {
      calls
        .attend(method, call, (attended) => work(call, attended))
        .then(
          () => call.end(),
          (status) => call.emit('error', status),
        );
    };
  const partOf = <T>(request: { priority: string }, part: Part<T>, attended: Attended) => {
    attended.note(part.model);
    return engine.part(part, partOptions(request, attended));
  };

  const handlers: DiffusionHandlers = {
    Generate: stream('Generate', (call: GenerateCall, attended) => {
      const { prompt, negativePrompt } = call.request;
      if (logPrompts) attended.say({ prompt, negativePrompt });
      return generate(runs, call, attended);
    }),
    Denoise: stream('Denoise', (call: DenoiseCall, attended) => denoise(engine, call, attended)),
    ListModels: unary('ListModels', async () => ({ models: await engine.models() })),
    DeviceInfo: unary('DeviceInfo', async () => ({ ...engine.info(), ...memory(), ready: isReady() })),
    ListNames: unary('ListNames', () => names(engine)),
    Preprocess: unary('Preprocess', (request, { signal }) => preprocessing.run(request, signal)),
    Encode: unary('Encode', async (request, attended) => {
      const { mean, std } = await partOf(request, encodePart(request), attended);
      return { mean: tensorMessage('mean', mean), std: tensorMessage('std', std) };
    }),
    Decode: unary('Decode', async (request, attended) => ({
      images: tensorMessage('images', await partOf(request, decodePart(request), attended)),
    })),
    EncodeText: unary('EncodeText', async (request, attended) => {
      const { hiddenStates, pooled, tokens, cutTokens } = await partOf(
        request,
        encodeTextPart(request),
        attended,
      );
      return {
        hiddenStates: tensorMessage('hidden_states', hiddenStates),
        pooled: pooled && tensorMessage('pooled', pooled),
        ...{ tokens, cutTokens },
      };
    }),
  };
  return { handlers, calls };
}

/** What a part of a request is run with. */
function partOptions(
  request: { priority: string },
  { signal, deadline, onStage, traceparent }: Attended,
): PartOptions {
  const { priority } = parseRequest({ priority: request.priority });
  return { priority, signal, deadline, onStage, traceparent, bytes: heldBytes(request) };
}

async function generate(
  runs: SharedRuns,
  call: GenerateCall,
  { signal, deadline, onStage, traceparent, note }: Attended,
): Promise<void> {
  const { images, effective, timings, textTokens } = await runs.generate(call.request, {
    idempotencyKey: call.metadata.get(metadataKeys.idempotencyKey)[0]?.toString().slice(0, 128),
    bytes: () => diffusion.service.Generate.requestSerialize(call.request),
    ...{ signal, deadline, onStage, traceparent },
    onQueued: (position) => call.write({ queued: { position } }),
    onProgress: ({ step, total, stepMs, previews }) => {
      if (signal.aborted) return;
      // A caller who reads slowly gets fewer previews, rather than a pile of them.
      const shown = call.writableNeedDrain ? [] : previews;
      call.write({ progress: { step, total, stepMs, previews: shown.map(imageMessage) } });
    },
  });
  signal.throwIfAborted();
  const { model, width, height } = effective;
  call.write({ result: { images: images.map(imageMessage), effective, timings, textTokens } });
  note(`${model} ${width}x${height} ${images.length}×${effective.stepsRun}`);
}

async function denoise(engine: Engine, call: DenoiseCall, attended: Attended): Promise<void> {
  const { signal, note } = attended;
  const part = denoisePart(call.request, (step) => {
    if (!signal.aborted) call.write({ progress: step });
  });
  const onQueued = (position: number) => call.write({ queued: { position } });
  const options = { ...partOptions(call.request, attended), onQueued };
  const { latents, timings, ...rest } = await engine.part(part, options);
  signal.throwIfAborted();
  call.write({ denoised: { latents: tensorMessage('latents', latents), timings, ...rest } });
  note(`${part.model} ${latents.shape.join('x')} ${rest.evaluationsRun}`);
}

function imageMessage({ file, format, width, height, seed, index, latents }: GeneratedImage) {
  const tensor = latents && tensorMessage('latents', latents);
  return { data: file, format, width, height, seed, index, latents: tensor };
}

function tensorMessage(name: string, { shape, data }: Floats) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { name, dtype: 'F32', shape, data: bytes };
}

/** Of this process, and of what it runs in. */
function memory() {
  return { residentBytes: process.memoryUsage.rss(), hostMemoryBytes: hostMemory() };
}
