import { randomInt } from 'node:crypto';
import type { WeightStorage } from '../checkpoints/weights.ts';
import { errors } from '../errors.ts';
import { nativeCode, type OpenOptions } from '../native.ts';
import { findLearnedWords, type LearnedWordFile, learnedWordFiles } from '../text/learned-words.ts';
import { type AdapterChoice, adapterNames, findAdapters } from './adapter-files.ts';
import { heldBytes } from './admission/held-bytes.ts';
import { memoryOf } from './admission/memory.ts';
import { type Admission, RequestQueue } from './admission/queue.ts';
import type { NeededWeights } from './admission/weights-in-use.ts';
import { workloadOf } from './admission/workload.ts';
import type { Occupancy } from './batching/occupancy.ts';
import type { Priority } from './batching/ticket.ts';
import { describeAll, type ModelDescription } from './catalog.ts';
import { type AdmittedControl, admitControls } from './control/admit.ts';
import { useControls, withPart } from './control/plan.ts';
import { chooseDecoders, type DecoderChoices } from './decoders/choose.ts';
import { type Opened, openDevices } from './devices/open.ts';
import type { Demand, Place, Worker } from './devices/worker.ts';
import { Workers } from './devices/workers.ts';
import type { ModelFolders, NamedFolder } from './model-folders.ts';
import type { OpenModel } from './open-model.ts';
import { type ImageRequest, type ImageRequestInput, parseRequest } from './request.ts';
import { openPictures, type Pictures, type Planned, planRequest } from './request-plan/index.ts';
import { type GenerateResult, type Progress, runRequest } from './run-request.ts';
import { type OnStage, stages } from './stage.ts';
import type { Bench, Part } from './tensors/part.ts';

export type { GeneratedImage } from './images.ts';
export type { GenerateResult, Progress, Timings } from './run-request.ts';

export interface EngineOptions extends Partial<Omit<OpenOptions, 'poison' | 'choicesFile'>> {
  folders: ModelFolders;
  /** Adapters by name, beside those of the folders. */
  adapterFiles?: ReadonlyMap<string, string>;
  /** ControlNets, folders or files, by name, likewise. */
  controlFiles?: ReadonlyMap<string, string>;
  /** AutoencoderTinys by name, beside those of the folders. */
  decoderFiles?: ReadonlyMap<string, string>;
  /** `cpu`, `cuda:0`, `auto`, …; default `cpu`. */
  device?: string;
  /** Bytes that the weights of loaded models may take together. Default: half of the device's memory. */
  memoryBudget?: number;
  /** Bytes that weights and one program may take together: what needs more is refused. Default: the device's memory. */
  memoryLimit?: number;
  /** Requests that run at once, where their models fit into the budget together. Default: DEFAULT_CONCURRENCY. */
  concurrency?: number;
  /** Requests that may wait. */
  queueLimit?: number;
  /** Seconds that one run of a program may take in any case, before its device is taken to hang; openDevices says more. */
  runTimeout?: number | undefined;
  /** How matrices are kept in memory: `int8` on CPUs alone. Default: `file`. */
  weights?: WeightStorage | undefined;
  /** Receives each device that fails for good, and why. */
  onDeviceLost?: ((device: string, reason: Error) => void) | undefined;
}

/**
 * A running request holds its own latents, keys and values of its texts, and hints: some megabytes, at most some
 * hundred. What its steps need while they are computed, all share.
 */
export const DEFAULT_CONCURRENCY = 16;

/** What steps are timed by. */
export interface StepKind {
  model: string;
  /** Pixels. */
  width: number;
  height: number;
  images: number;
}

/** Is told what callers' requests come to, whatever becomes of them. */
export interface Watcher {
  /** One has begun after so many milliseconds in the queue; or, with a reason, never will. */
  waited(ms: number, refusal?: unknown): void;
  /** A denoising step, of all images of a request, has taken so many milliseconds. */
  stepped(kind: StepKind, ms: number): void;
}

export interface GenerateOptions {
  /** Stops the work within one step; what is thrown then is its reason. */
  signal?: AbortSignal;
  /** When the caller stops waiting, milliseconds since 1970: what is pressed for time goes first. */
  deadline?: number | undefined;
  onQueued?: (position: number) => void;
  onProgress?: (progress: Progress) => void;
  /** Told of each stretch of the way when it is over. */
  onStage?: OnStage | undefined;
  /** Of its call's span, so that steps it shares with others can be linked. */
  traceparent?: string | undefined;
}

export interface PartOptions extends GenerateOptions {
  /** Of the tensors and pictures that it was given. */
  bytes?: number | undefined;
  /** Default: interactive. */
  priority?: Priority | undefined;
}

interface RunOptions extends Omit<PartOptions, 'priority'> {
  /** The one device to use, to warm it up; default: any. */
  only?: Worker;
  /** Called when its model is there, and its own work is about to begin. */
  arrived?: () => void;
}

/** Devices, their models and the queue before them: all of the sidecar but the wire. */
export class Engine {
  readonly #workers: Workers;
  readonly #folders: ModelFolders;
  readonly #adapterFiles: ReadonlyMap<string, string> | undefined;
  readonly #controlFiles: ReadonlyMap<string, string> | undefined;
  readonly #decoderFiles: ReadonlyMap<string, string>;
  readonly #weights: WeightStorage;
  readonly #queue: RequestQueue<Place>;
  /** When no device is left: then it takes no requests any more. */
  readonly lost: Promise<void>;
  #stepsRun = 0;
  #restarts = 0;
  #watcher: Watcher | undefined;

  private constructor(opened: Opened[], options: EngineOptions) {
    const { folders, concurrency = DEFAULT_CONCURRENCY, memoryBudget, memoryLimit, onDeviceLost } = options;
    const { weights = 'file' } = options;
    let onAllLost = () => {};
    this.lost = new Promise((resolve) => {
      onAllLost = resolve;
    });
    const workers = new Workers(
      opened,
      { concurrency, memoryBudget, memoryLimit, weights },
      ({ id }, reason, left) => {
        onDeviceLost?.(id, reason);
        if (left > 0) return;
        this.#queue.fail(errors.deviceLost(reason));
        onAllLost();
      },
    );
    this.#workers = workers;
    this.#folders = folders;
    this.#weights = weights;
    this.#adapterFiles = options.adapterFiles;
    this.#controlFiles = options.controlFiles;
    this.#decoderFiles = options.decoderFiles ?? new Map();
    this.#queue = new RequestQueue({
      devices: () => workers.left.length,
      places: () => workers.places,
      limit: options.queueLimit ?? 256,
      onWaited: (ms, refusal) => this.#watcher?.waited(ms, refusal),
    });
  }

  /** @throws Error when there is no such device, or the addon is not built. */
  static async open(options: EngineOptions): Promise<Engine> {
    const { device = 'cpu', threads, dtype, providers, memoryBytes, runTimeout, weights } = options;
    const opened = await openDevices({ device, threads, dtype, providers, memoryBytes, runTimeout, weights });
    return new Engine(opened, options);
  }

  /**
   * Makes the images of a request, when its turn comes.
   * @throws ServiceError, CheckpointError, or the signal's reason.
   */
  async generate(input: ImageRequestInput, options: GenerateOptions = {}): Promise<GenerateResult> {
    const request = parseRequest(input);
    const arrived = this.#expect(request.priority);
    try {
      return await this.#generate(request, { ...options, bytes: heldBytes(input), arrived });
    } finally {
      arrived();
    }
  }

  async #generate(parsed: ImageRequest, options: RunOptions = {}): Promise<GenerateResult> {
    const { signal, deadline, onQueued, onStage, traceparent, bytes, only, arrived = () => {} } = options;
    // Drawn once, however often the request is planned.
    const request = { ...parsed, seeds: parsed.seeds.length > 0 ? parsed.seeds : [randomInt(2 ** 32)] };
    const { priority } = request;
    const pictures = await openPictures(request);
    const folder = await this.#folders.find(request.model);
    const adapters = await findAdapters(request.adapters, this.#folders.loras(folder), this.#adapterFiles);
    const refiner = request.refiner ? await this.#folders.find(request.refiner, 'refiner') : undefined;
    // What can be known to fail does so before it waits.
    const opened = await this.#open(folder);
    const planned = planRequest(request, pictures, opened);
    const admitted = await this.#admit(request, pictures, folder, opened);
    const takingPart = withPart(admitted, planned);
    const choices = await chooseDecoders(request, opened, () => this.#tinyAutoencoders(folder));
    const refining = refiner && (await this.#open(refiner));
    const demand = {
      ...{ priority, deadline, signal, only, traceparent },
      weights: neededWeights([folder, opened], [refiner, refining], takingPart, adapters),
      ...needsOf(planned, opened, refining, takingPart, choices),
    };
    const asked = performance.now();
    let isAgain = false;
    const over = stages(onStage);
    const waiting = { onQueued, bytes };
    return this.#enqueue(demand, waiting, (place) => {
      const began = performance.now();
      over('queue');
      const { store, decoders } = place.worker;
      return store.use(folder, adapters, async (model) => {
        signal?.throwIfAborted();
        // Its files may have changed while the request waited; and a sampler runs once.
        const isSame = model.checkpoint === opened.checkpoint;
        const plan = isSame && !isAgain ? planned : planRequest(request, pictures, model);
        isAgain = true;
        const control = isSame ? admitted : await this.#admit(request, pictures, folder, model);
        const taking = isSame ? takingPart : withPart(control, plan);
        return useControls(store, taking, request.guessMode ?? false, (controls) =>
          decoders.use(choices, async (decoders) => {
            signal?.throwIfAborted();
            const timings = { queueMs: began - asked, loadMs: performance.now() - began };
            over('load model', { model: model.name, device: place.worker.id });
            const learnedWords = await findLearnedWords(this.#folders.embeddings(folder));
            const onProgress = (progress: Progress) => {
              const { model, width, height } = plan.effective;
              const kind = { model, width, height, images: plan.work.count };
              this.#stepped(kind, progress.stepMs, only !== undefined);
              options.onProgress?.(progress);
            };
            const run = { refiner, request, planned: plan, control, controls, choices, decoders };
            arrived();
            return runRequest(model, place, { ...run, learnedWords, onProgress, onStage }, timings);
          }),
        );
      });
    });
  }

  /**
   * Loads the default model on every device, and makes one image of its own size in one step there, so that weights are
   * packed, programs compiled and buffers there when the first request comes.
   */
  async preload(): Promise<void> {
    const folder = await this.#folders.find('');
    const { inpaints } = await this.#open(folder);
    const warm = async (worker: Worker) => {
      await worker.store.use(folder, [], ({ hash }) => hash);
      // One that cannot do without a picture is loaded, no more.
      if (!inpaints)
        await this.#generate(parseRequest({ prompt: '', steps: 1, seeds: [0] }), { only: worker });
    };
    for (const worker of this.#workers.left)
      await warm(worker).catch((error) => {
        if (!worker.isLost || this.#workers.left.length === 0) throw error;
      });
  }

  /**
   * Runs a part of a request by itself, when its turn comes.
   * @throws as generate.
   */
  async part<T>(part: Part<T>, options: PartOptions = {}): Promise<T> {
    const arrived = this.#expect(options.priority);
    try {
      return await this.#part(part, options, arrived);
    } finally {
      arrived();
    }
  }

  async #part<T>(part: Part<T>, options: PartOptions, arrived: () => void): Promise<T> {
    const { signal, deadline, onQueued, onStage, traceparent, bytes, priority } = options;
    const folder = await this.#folders.find(part.model);
    const opened = await this.#open(folder);
    const weights = neededWeights([folder, opened], [undefined, undefined], [], []);
    const learnedWords = () => findLearnedWords(this.#folders.embeddings(folder));
    const demand = { weights, ...part.check(opened), priority, deadline, signal, traceparent };
    const over = stages(onStage);
    return this.#enqueue(demand, { onQueued, bytes }, ({ worker, ticket }) => {
      over('queue');
      return worker.store.use(folder, [], async (model) => {
        signal?.throwIfAborted();
        over('load model', { model: model.name, device: worker.id });
        arrived();
        const onStep: Bench['onStep'] = (kind, ms) => this.#stepped({ ...kind, model: model.name }, ms);
        return part.run(model, { evaluator: worker.evaluator, ticket, learnedWords, onStage, onStep });
      });
    });
  }

  /** An error's message for those who are not on this machine. */
  publicMessage(message: string): Promise<string> {
    return this.#folders.withoutPaths(message);
  }

  /** The names of adapters, of whichever model. */
  async adapters(): Promise<string[]> {
    const folders = (await this.#folders.list()).flatMap((folder) => this.#folders.loras(folder));
    return adapterNames([...new Set(folders)]);
  }

  /** The files of learned words, of whichever model. */
  async embeddings(): Promise<LearnedWordFile[]> {
    const folders = (await this.#folders.list()).flatMap((folder) => this.#folders.embeddings(folder));
    return learnedWordFiles([...new Set(folders)]);
  }

  models(): Promise<ModelDescription[]> {
    return describeAll(this.#folders, (folder) => this.#workers.isLoaded(folder), this.#weights);
  }

  info() {
    const { running, queued, limit: queueLimit } = this.#queue;
    const { all, controlNetEvaluations } = this.#workers;
    return {
      ...{ devices: all.map((worker) => worker.info()), running, queued, queueLimit },
      ...{ stepsRun: this.#stepsRun, restarts: this.#restarts },
      controlnetEvaluations: controlNetEvaluations,
    };
  }

  /** Bytes of each device's memory, by what they are used for. */
  memory() {
    return this.#workers.all.map((worker) => worker.memory());
  }

  /** How full batches have been. */
  get occupancy(): Occupancy {
    return this.#workers.occupancy;
  }

  /** Tells one who keeps count, in the place of who was told before. */
  watch(watcher: Watcher): void {
    this.#watcher = watcher;
  }

  /** Takes no more requests. */
  close(): void {
    this.#queue.close();
  }

  /** Waits for requests in flight and frees everything. */
  async dispose(): Promise<void> {
    this.close();
    await this.#queue.idle();
    await this.#workers.dispose();
  }

  /** @param isOwn whether no caller waits for it: one that warms a device up takes as long as its programs' compilation. */
  #stepped(kind: StepKind, ms: number, isOwn = false): void {
    this.#stepsRun++;
    if (!isOwn) this.#watcher?.stepped(kind, ms);
  }

  /** Has the devices make way for a request that has come and not begun yet; a bulk one can wait. */
  #expect(priority?: Priority): () => void {
    return priority === 'bulk' ? () => {} : this.#workers.expect();
  }

  /**
   * Runs work on a device, when its turn comes.
   * @throws ServiceError as RequestQueue.run, or out_of_memory for what fits on no device.
   */
  #enqueue<T>(
    demand: Demand,
    waiting: Pick<Admission<Place>, 'onQueued' | 'bytes'>,
    work: (place: Place) => Promise<T>,
  ): Promise<T> {
    this.#workers.checkFits(demand);
    const { priority, deadline, signal, only } = demand;
    return this.#queue.run(work, {
      ...{ priority, deadline, signal, ...waiting, isOwn: only !== undefined },
      workMs: this.#workers.workMs(demand),
      reserve: (blocked) => this.#workers.reserve(demand, blocked),
      onFailure: (error, { worker }) => {
        // What the request was short of may be what nobody uses: the next one is to have it.
        if (nativeCode(error) === 'ERR_OUT_OF_MEMORY') worker.freeIdle();
        const isAgain =
          nativeCode(error) === 'ERR_DEVICE_LOST' && this.#workers.takeOut(worker, error, demand);
        if (isAgain) this.#restarts++;
        return isAgain;
      },
    });
  }

  /** What a model is, loaded or not. */
  #open(folder: NamedFolder): Promise<OpenModel> {
    return this.#workers.knowing(folder).store.open(folder);
  }

  #admit(request: ImageRequest, pictures: Pictures, folder: NamedFolder, model: OpenModel) {
    return admitControls(request.control, {
      ...{ folders: this.#folders, folder, model, pictures, files: this.#controlFiles },
      open: (place) => this.#workers.knowing(place).store.openControlNet(place),
    });
  }

  async #tinyAutoencoders(model: NamedFolder): Promise<NamedFolder[]> {
    const named = [...this.#decoderFiles].map(([name, dir]) => ({ name, dir }));
    return [...named, ...(await this.#folders.tinyAutoencoders(model))];
  }
}

/** What a request takes of a device. */
function needsOf(
  planned: Planned,
  model: OpenModel,
  refiner: OpenModel | undefined,
  controls: readonly AdmittedControl[],
  { images, previews }: DecoderChoices,
): Pick<Demand, 'memory' | 'workload'> {
  const { work, hires } = planned;
  const at = ([, height, width]: Planned['work']['shape']) => ({ height, width });
  const runs = [{ size: at(work.shape), count: work.count, encodes: work.source !== undefined }];
  if (hires) runs.push({ size: at(hires.shape), count: 1, encodes: hires.upscaler === 'pixel' });
  const nets = controls.map(({ component }) => component);
  // The model's own, where there are no previews.
  const other = previews.kind === 'tiny' ? [previews] : [];
  return {
    memory: memoryOf(model, runs, work.guidanceScale > 1, { nets, refiner, decoders: [images, ...other] }),
    workload: workloadOf(planned, model, refiner, nets, images),
  };
}

/** Of a request: its models, and ControlNets that take part. With adapters a model is counted as one of its own. */
function neededWeights(
  [folder, model]: [NamedFolder, OpenModel],
  [refiner, refining]: [NamedFolder | undefined, OpenModel | undefined],
  controls: readonly AdmittedControl[],
  adapters: readonly AdapterChoice[],
): NeededWeights[] {
  const needed = new Map([[folder.dir, model.bytes]]);
  const active = adapters.filter(({ scale }) => scale !== 0);
  if (active.length > 0) needed.set(JSON.stringify([folder.dir, active]), model.bytes);
  if (refiner && refining) needed.set(refiner.dir, refining.bytes);
  for (const { place, component } of controls) needed.set(place.dir, component.bytes);
  return [...needed].map(([name, bytes]) => ({ name, bytes }));
}
