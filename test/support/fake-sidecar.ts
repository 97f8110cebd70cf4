import type {
  CallOptions,
  GenerateEvent,
  GenerateRequest,
  Image,
  Names,
  PreprocessRequest,
  Result,
  SidecarClient,
} from '../../edge/sidecar/client.ts';
import { SidecarError } from '../../edge/sidecar/client.ts';

/** The bytes of a 1×1 PNG. */
export const PIXEL = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC',
  'base64',
);

export interface FakeSidecar extends SidecarClient {
  /** What was asked of it, in order. */
  requests: GenerateRequest[];
  preprocessed: PreprocessRequest[];
  options: CallOptions[];
  /** Denoising steps of all calls. */
  steps: number;
  /** Calls that ended before their result was taken. */
  cancelled: number;
  /** Lets it take one more step than `pauseAfter` has it take. */
  go(): void;
}

/**
 * A sidecar without a model: it counts its steps, waits `stepMs` for each, and gives 1×1 pictures. What comes of a
 * cancel within a step is shown by `pauseAfter`, whatever time it takes.
 */
export function fakeSidecar({
  stepMs = 0,
  steps = 4,
  pauseAfter = Number.POSITIVE_INFINITY,
  image: data = PIXEL,
  fail,
  embeddings = [{ name: 'word', vectors: 2, width: 768, bytes: 100, modifiedMs: 1_700_000_000_000 }],
}: {
  stepMs?: number;
  steps?: number;
  /** After that many steps each further one lasts until `go` lets it end, or its call is cancelled. */
  pauseAfter?: number;
  /** The bytes of each picture. */
  image?: Buffer;
  fail?: FakeFailure;
  /** Its learned words. */
  embeddings?: Names['embeddings'];
} = {}): FakeSidecar {
  const image = (request: GenerateRequest) => (seed: number) => ({
    data,
    format: formatOf(request),
    width: request.width || 64,
    height: request.height || 64,
    seed,
    index: 0,
    latents: null,
  });
  let allowed = pauseAfter;
  const paused = new Set<() => void>();
  const untilAllowed = async (step: number, signal: AbortSignal | undefined) => {
    while (step > allowed && !signal?.aborted)
      await new Promise<void>((resolve) => {
        paused.add(resolve);
        signal?.addEventListener('abort', () => resolve(), { once: true });
      });
  };
  const fake: FakeSidecar = {
    requests: [],
    preprocessed: [],
    options: [],
    steps: 0,
    cancelled: 0,
    async *generate(request: GenerateRequest, options: CallOptions = {}): AsyncGenerator<GenerateEvent> {
      fake.requests.push(request);
      fake.options.push(options);
      if (fail && fail.afterSteps === undefined) throw fail.error;
      const total = request.steps || steps;
      const seeds = request.seeds as number[];
      const images = seeds.map(image(request));
      let done = false;
      try {
        yield { queued: { position: 0 }, event: 'queued' };
        if (fail?.afterSteps === 0) {
          await new Promise((resolve) => setTimeout(resolve, stepMs));
          throw fail.error;
        }
        for (let step = 1; step <= total; step++) {
          await new Promise((resolve) => setTimeout(resolve, stepMs));
          await untilAllowed(step, options.signal);
          if (options.signal?.aborted)
            throw new SidecarError('The request was cancelled', { code: 'cancelled', httpStatus: 499 });
          fake.steps++;
          const isShown =
            step <= (request.previewCount ?? 0) || step % (request.previewInterval || total) === 0;
          const previews = step < total && isShown ? images : [];
          yield { progress: { step, total, stepMs, previews }, event: 'progress' };
          if (fail?.afterSteps === step) throw fail.error;
        }
        done = true;
        yield { result: resultOf(request, images, total), event: 'result' };
      } finally {
        if (!done) fake.cancelled++;
      }
    },
    async listModels() {
      if (fail) throw fail.error;
      return [
        {
          name: 'tiny',
          kind: 'latent-diffusion',
          family: 'sd1',
          width: 64,
          height: 64,
          steps: 4,
          guidanceScale: 3,
          sampler: 'ddim',
          bytes: 1000,
          loaded: true,
          isDefault: true,
          created: 1_700_000_000,
          modelHash: 'ab'.repeat(32),
          weights: 'file',
        },
      ];
    },
    async deviceInfo() {
      if (fail) throw fail.error;
      return {
        devices: [],
        running: 0,
        queued: 0,
        queueLimit: 8,
        stepsRun: fake.steps,
        controlnetEvaluations: 0,
        restarts: 0,
        residentBytes: 3e9,
        hostMemoryBytes: 8e9,
        ready: true,
      };
    },
    async listNames() {
      if (fail) throw fail.error;
      return {
        samplers: [
          { name: 'ddim', aliases: ['DDIM'] },
          { name: 'euler', aliases: ['Euler', 'k_euler'] },
          { name: 'euler-ancestral', aliases: ['Euler a', 'k_euler_a'] },
          { name: 'dpmpp-2m', aliases: ['DPM++ 2M'] },
        ],
        schedules: [
          { name: 'default', aliases: ['Automatic'] },
          { name: 'karras', aliases: ['Karras'] },
        ],
        preprocessors: [
          {
            name: 'canny',
            aliases: [],
            what: 'edges',
            options: [
              { name: 'low_threshold', what: 'low', defaultValue: 100, min: 0, max: 2048, whole: false },
              { name: 'high_threshold', what: 'high', defaultValue: 200, min: 0, max: 2048, whole: false },
            ],
          },
        ],
        adapters: ['l'],
        hiresUpscalers: ['pixel', 'latent'],
        embeddings,
      };
    },
    async preprocess(request) {
      if (fail) throw fail.error;
      fake.preprocessed.push(request);
      const { width = 0, height = 0 } = request;
      return { ...image({ width, height })(0), format: 'IMAGE_FORMAT_PNG' };
    },
    go() {
      allowed++;
      for (const resume of paused) resume();
      paused.clear();
    },
    close() {},
  };
  return fake;
}

export interface FakeFailure {
  error: SidecarError;
  /** Fail after that many steps, 0: once queued, `stepMs` later; default: at once. */
  afterSteps?: number;
}

const formatOf = ({ format }: GenerateRequest) => (format ?? 'IMAGE_FORMAT_PNG') as Image['format'];

function resultOf(request: GenerateRequest, images: Result['images'], steps: number): Result {
  return {
    images,
    effective: {
      model: request.model || 'tiny',
      modelHash: 'ab'.repeat(32),
      prompt: request.prompt ?? '',
      negativePrompt: request.negativePrompt ?? '',
      promptSyntax: request.promptSyntax || 'weighted',
      width: request.width || 64,
      height: request.height || 64,
      count: images.length,
      seeds: request.seeds as number[],
      steps,
      stepsRun: steps,
      guidanceScale: Number(request.guidanceScale ?? 3),
      guidanceRescale: 0,
      sampler: request.sampler || 'ddim',
      schedule: 'default',
      eta: 0,
      clipSkip: 0,
      ignored: [],
      notes: [],
      sizeConditioning: null,
      refiner: request.refiner ?? '',
      format: formatOf(request),
      quality: request.quality ?? undefined,
      strength: request.strength === undefined ? undefined : Number(request.strength),
      maskedContent: request.mask ? request.maskedContent || 'original' : undefined,
      hiresUpscaler: request.hiresUpscaler ?? '',
      decoder: request.decoder || 'model',
      adapters: (request.adapters ?? []).map(({ name = '', scale = 1 }) => ({ name, scale: Number(scale) })),
      control: [],
      guessMode: request.guessMode ?? false,
    },
    timings: null,
    textTokens: 5,
  };
}
