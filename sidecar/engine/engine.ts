import type { DeviceInfo, NativeDevice, OpenOptions } from '../native.ts';
import { findLearnedWords, type LearnedWordFile, learnedWordFiles } from '../text/learned-words.ts';
import { type AdapterChoice, adapterNames, findAdapters } from './adapter-files.ts';
import type { Occupancy } from './batching/occupancy.ts';
import { Ticket } from './batching/ticket.ts';
import { describeAll, type ModelDescription } from './catalog.ts';
import { type AdmittedControl, admitControls } from './control/admit.ts';
import type { Control } from './control/controls.ts';
import { effectiveControls, useControls, withPart } from './control/plan.ts';
import { chooseDecoders, type DecoderChoices, decoderName } from './decoders/choose.ts';
import type { Decoders } from './decoders/decoder.ts';
import { DecoderStore } from './decoders/store.ts';
import { openDevice } from './device.ts';
import { type Effective, effectiveOf } from './effective.ts';
import { Evaluator } from './evaluator.ts';
import { goOver } from './hires.ts';
import { encodeImages, type GeneratedImage, withLatents } from './images.ts';
import type { Run } from './latent-diffusion.ts';
import { checkMemory } from './memory-check.ts';
import type { Model } from './model.ts';
import type { ModelFolders, NamedFolder } from './model-folders.ts';
import type { OpenModel } from './open-model.ts';
import type { Pixels } from './png.ts';
import { type Admission, RequestQueue } from './queue.ts';
import { latentDiffusionRefined } from './refine.ts';
import { type ImageRequest, type ImageRequestInput, parseRequest } from './request.ts';
import { openPictures, type Pictures, type Planned, planRequest } from './request-plan.ts';
import { retouch } from './retouch.ts';
import { ModelStore } from './store.ts';
import type { Bench, Part } from './tensors/part.ts';
import { type NeededWeights, WeightsInUse } from './weights-in-use.ts';

export type { GeneratedImage } from './images.ts';

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
}

/**
 * A running request holds its own latents, keys and values of its texts, and hints: some megabytes, at most some
 * hundred. What its steps need while they are computed, all share.
 */
export const DEFAULT_CONCURRENCY = 16;

export interface GenerateResult {
  images: GeneratedImage[];
  effective: Effective;
  timings: Timings;
  textTokens: number;
}

/** Milliseconds. */
export interface Timings {
  queueMs: number;
  loadMs: number;
  encodeTextMs: number;
  encodeImageMs: number;
  denoiseMs: number;
  decodeMs: number;
}

export interface Progress {
  step: number;
  total: number;
  stepMs: number;
  previews: GeneratedImage[];
}

export interface GenerateOptions {
  /** Stops the work within one step; what is thrown then is its reason. */
  signal?: AbortSignal;
  /** When the caller stops waiting, milliseconds since 1970: what is pressed for time goes first. */
  deadline?: number | undefined;
  onQueued?: (position: number) => void;
  onProgress?: (progress: Progress) => void;
}

/** A request whose models are there, whose pictures can be read, and which its model can serve. */
interface Admitted {
  request: ImageRequest;
  planned: Planned;
  folder: NamedFolder;
  refiner: NamedFolder | undefined;
  /** ControlNets; of them those on the device that have a part. */
  control: readonly AdmittedControl[];
  controls: readonly Control[];
  /** What decodes, as chosen and as loaded. */
  choices: DecoderChoices;
  decoders: Decoders;
  ticket: Ticket;
}

/** A device, its models and the queue before it: all of the sidecar but the wire. */
export class Engine {
  readonly #device: NativeDevice;
  readonly #folders: ModelFolders;
  readonly #adapterFiles: ReadonlyMap<string, string> | undefined;
  readonly #controlFiles: ReadonlyMap<string, string> | undefined;
  readonly #decoderFiles: ReadonlyMap<string, string>;
  readonly #store: ModelStore;
  readonly #decoders: DecoderStore;
  readonly #queue: RequestQueue;
  readonly #memoryLimit: number;
  readonly #weights: WeightsInUse;
  readonly #evaluator: Evaluator;
  #stepsRun = 0;

  private constructor(device: NativeDevice, options: EngineOptions) {
    const { folders, concurrency = DEFAULT_CONCURRENCY, queueLimit = 32 } = options;
    this.#device = device;
    this.#memoryLimit = options.memoryLimit ?? device.info.memoryBytes;
    this.#folders = folders;
    this.#adapterFiles = options.adapterFiles;
    this.#controlFiles = options.controlFiles;
    const budget = options.memoryBudget ?? device.info.memoryBytes / 2;
    this.#store = new ModelStore(device, budget);
    this.#weights = new WeightsInUse(budget);
    this.#evaluator = new Evaluator({ hasRoom: (bytes) => this.#bytesInUse() + bytes <= this.#memoryLimit });
    this.#decoderFiles = options.decoderFiles ?? new Map();
    this.#decoders = new DecoderStore(device);
    this.#queue = new RequestQueue({ concurrency, limit: queueLimit });
  }

  /** @throws Error when there is no such device, or the addon is not built. */
  static async open(options: EngineOptions): Promise<Engine> {
    const { device = 'cpu', threads, dtype, providers, memoryBytes } = options;
    return new Engine(await openDevice({ device, threads, dtype, providers, memoryBytes }), options);
  }

  /**
   * Makes the images of a request, when its turn comes.
   * @throws ServiceError, CheckpointError, or the signal's reason.
   */
  async generate(input: ImageRequestInput, options: GenerateOptions = {}): Promise<GenerateResult> {
    const { signal, deadline, onQueued } = options;
    const request = parseRequest(input);
    const { priority } = request;
    const pictures = await openPictures(request);
    const folder = await this.#folders.find(request.model);
    const adapters = await findAdapters(request.adapters, this.#folders.loras(folder), this.#adapterFiles);
    const refiner = request.refiner ? await this.#folders.find(request.refiner, 'refiner') : undefined;
    // What can be known to fail does so before it waits.
    const opened = await this.#store.open(folder);
    const planned = planRequest(request, pictures, opened);
    const admitted = await this.#admit(request, pictures, folder, opened);
    const takingPart = withPart(admitted, planned);
    const choices = await chooseDecoders(request, opened, () => this.#tinyAutoencoders(folder));
    const refining = refiner && (await this.#store.open(refiner));
    const needed = neededWeights([folder, opened], [refiner, refining], takingPart, adapters);
    const ticket = new Ticket({ priority, deadline, signal });
    const asked = performance.now();
    return this.#enqueue(
      needed,
      () => {
        const began = performance.now();
        return this.#store.use(folder, adapters, async (model) => {
          signal?.throwIfAborted();
          // Its files may have changed while the request waited.
          const isSame = model.checkpoint === opened.checkpoint;
          const plan = isSame ? planned : planRequest(request, pictures, model);
          const control = isSame ? admitted : await this.#admit(request, pictures, folder, model);
          const taking = isSame ? takingPart : withPart(control, plan);
          return useControls(this.#store, taking, request.guessMode ?? false, (controls) =>
            this.#decoders.use(choices, (decoders) => {
              signal?.throwIfAborted();
              const timings = { queueMs: began - asked, loadMs: performance.now() - began };
              const run = { folder, refiner, request, planned: plan, control, controls, choices, decoders };
              return this.#run(model, { ...run, ticket }, timings, options);
            }),
          );
        });
      },
      { priority, signal, onQueued },
    );
  }

  /**
   * Loads the default model and makes one image of its own size in one step, so that weights are packed, programs
   * compiled and buffers there when the first request comes.
   */
  async preload(): Promise<void> {
    const { inpaints, hash } = await this.#store.use(
      await this.#folders.find(''),
      [],
      async (model) => model,
    );
    await hash;
    // One that cannot do without a picture is loaded, no more.
    if (!inpaints) await this.generate({ prompt: '', steps: 1, seeds: [0] });
  }

  /**
   * Runs a part of a request by itself, when its turn comes.
   * @throws as generate.
   */
  async part<T>(part: Part<T>, { signal, deadline, onQueued }: GenerateOptions = {}): Promise<T> {
    const folder = await this.#folders.find(part.model);
    const opened = await this.#store.open(folder);
    part.check(opened);
    const ticket = new Ticket({ deadline, signal });
    const bench: Bench = {
      ...{ evaluator: this.#evaluator, memoryLimit: this.#memoryLimit, ticket },
      learnedWords: () => findLearnedWords(this.#folders.embeddings(folder)),
    };
    const work = (model: Model) => {
      signal?.throwIfAborted();
      return part.run(model, bench);
    };
    const needed = neededWeights([folder, opened], [undefined, undefined], [], []);
    return this.#enqueue(needed, () => this.#store.use(folder, [], work), { signal, onQueued });
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
    const isLoaded = (folder: NamedFolder) => this.#store.isLoaded(folder) || this.#decoders.isLoaded(folder);
    return describeAll(this.#folders, isLoaded);
  }

  info() {
    const { id, name, arch, threads, memoryBytes } = this.#device.info;
    const memory = this.#device.memory();
    const device = {
      id,
      name,
      arch,
      threads,
      memoryTotal: memoryBytes,
      weightsBytes: memory.weights,
      arenaBytes: memory.arenas + memory.tensors + memory.scratch,
    };
    const { running, queued, limit: queueLimit } = this.#queue;
    const { controlNetEvaluations } = this.#evaluator;
    return {
      ...{ devices: [device], running, queued, queueLimit },
      ...{ stepsRun: this.#stepsRun, controlnetEvaluations: controlNetEvaluations },
    };
  }

  /** Bytes of the device's memory, by what they are used for. */
  memory() {
    return { device: this.#device.info.id, ...this.#device.memory() };
  }

  /** How full batches have been. */
  get occupancy(): Occupancy {
    return this.#evaluator.occupancy;
  }

  /** Takes no more requests. */
  close(): void {
    this.#queue.close();
  }

  /** Waits for requests in flight and frees everything. */
  async dispose(): Promise<void> {
    this.close();
    await this.#queue.idle();
    await this.#decoders.dispose();
    await this.#store.dispose();
    await this.#device.dispose();
  }

  /** Runs work when its turn comes, and its weights fit beside those that are in use. */
  #enqueue<T>(
    needed: readonly NeededWeights[],
    work: () => Promise<T>,
    admission: Omit<Admission, 'reserve'>,
  ): Promise<T> {
    let giveBack: (() => void) | undefined;
    const reserve = () => {
      giveBack = this.#weights.take(needed);
      return giveBack !== undefined;
    };
    return this.#queue.run(() => work().finally(() => giveBack?.()), { ...admission, reserve });
  }

  #bytesInUse(): number {
    const { weights, arenas, tensors, scratch } = this.#device.memory();
    return weights + arenas + tensors + scratch;
  }

  #admit(request: ImageRequest, pictures: Pictures, folder: NamedFolder, model: OpenModel) {
    return admitControls(request.control, {
      ...{ folders: this.#folders, folder, model, pictures, files: this.#controlFiles },
      open: (place) => this.#store.openControlNet(place),
    });
  }

  async #tinyAutoencoders(model: NamedFolder): Promise<NamedFolder[]> {
    const named = [...this.#decoderFiles].map(([name, dir]) => ({ name, dir }));
    return [...named, ...(await this.#folders.tinyAutoencoders(model))];
  }

  async #run(
    model: Model,
    { folder, refiner, request, planned, control, controls: loaded, choices, decoders, ticket }: Admitted,
    { queueMs, loadMs }: Pick<Timings, 'queueMs' | 'loadMs'>,
    { onProgress }: GenerateOptions,
  ): Promise<GenerateResult> {
    const { seeds, shape, count, guidanceScale } = planned.work;
    const encoding = planned.effective;
    const { hires: second } = planned;
    const runs = [{ shape, count, encodes: planned.work.source !== undefined }];
    if (second) runs.push({ shape: second.shape, count: 1, encodes: second.upscaler === 'pixel' });
    const nets = loaded.map(({ net }) => net.component);
    checkMemory(model, nets, runs, guidanceScale > 1, this.#memoryLimit, decoders.images);
    const learnedWords = await findLearnedWords(this.#folders.embeddings(folder));
    const { source, finish, part } = await retouch(planned.work.source, planned.effective, request);
    const finished = (images: Pixels[]) => Promise.all(images.map(finish));
    const { handover, hires } = planned;
    const controls = loaded.map((control) => ({ ...control, part }));
    const work = { ...planned.work, source, learnedWords, controls, decoders };
    let repeated = 0;
    const onRepeatedDecode = () => {
      repeated++;
    };
    const onStep: Run['onStep'] = async ({ previews, ...step }) => {
      this.#stepsRun++;
      onProgress?.({ ...step, previews: await encodeImages(await finished(previews), seeds, encoding) });
    };
    const ahead = hires ? work.count * hires.evaluations : 0;
    const run = { evaluator: this.#evaluator, ticket, onStep, onRepeatedDecode };
    const drawn = await latentDiffusionRefined(
      model,
      work,
      handover,
      (work) => this.#store.use(refiner!, [], work),
      { ...run, ahead, onStep: (step) => onStep({ ...step, total: step.total + ahead }) },
    );
    const outcome = hires ? await goOver(model, work, hires, drawn, run) : drawn;
    const notes = [...planned.effective.notes, ...(repeated > 0 ? [decodedAgain(this.#device.info)] : [])];
    const effective = effectiveOf({ ...planned.effective, notes }, outcome, {
      modelHash: await model.hash,
      decoder: decoderName(choices.images),
      control: await effectiveControls(control, controls),
    });
    const decoded = performance.now();
    const images = await encodeImages(await finished(outcome.images), seeds, encoding, effective);
    const encodeImageMs = outcome.timings.encodeImageMs + performance.now() - decoded;
    return {
      images: request.returnLatents ? withLatents(images, outcome) : images,
      effective,
      timings: { queueMs, loadMs, ...outcome.timings, encodeImageMs },
      textTokens: outcome.textTokens,
    };
  }
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
  for (const { place, component } of controls) needed.set(place.dir, 4 * component.parameters);
  return [...needed].map(([name, bytes]) => ({ name, bytes }));
}

function decodedAgain({ dtype }: DeviceInfo): string {
  return `decoder: ${dtype} gave NaN or infinity; decoded in float32`;
}
