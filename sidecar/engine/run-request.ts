import type { DeviceInfo } from '../native.ts';
import type { LearnedWords } from '../text/learned-words.ts';
import type { AdmittedControl } from './control/admit.ts';
import type { Control } from './control/controls.ts';
import { effectiveControls } from './control/plan.ts';
import { type DecoderChoices, decoderName } from './decoders/choose.ts';
import type { Decoders } from './decoders/decoder.ts';
import type { Place } from './devices/worker.ts';
import { type Effective, effectiveOf } from './effective.ts';
import { goOver } from './hires.ts';
import { encodeImages, type GeneratedImage, withLatents } from './images.ts';
import type { Run } from './latent-diffusion.ts';
import type { Model } from './model.ts';
import type { NamedFolder } from './model-folders.ts';
import type { Pixels } from './png.ts';
import { latentDiffusionRefined } from './refine.ts';
import type { ImageRequest } from './request.ts';
import type { Planned } from './request-plan/index.ts';
import { retouch } from './retouch.ts';
import { type OnStage, stages } from './stage.ts';

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

/** A request whose models are there, whose pictures can be read, and which its model can serve. */
export interface Admitted {
  request: ImageRequest;
  planned: Planned;
  refiner: NamedFolder | undefined;
  /** ControlNets; of them those on the device that have a part. */
  control: readonly AdmittedControl[];
  controls: readonly Control[];
  /** What decodes, as chosen and as loaded. */
  choices: DecoderChoices;
  decoders: Decoders;
  learnedWords: LearnedWords;
  onProgress: (progress: Progress) => void;
  onStage: OnStage | undefined;
}

/** Makes the images of a request on a device, its models being there. */
export async function runRequest(
  model: Model,
  { worker, ticket }: Place,
  admitted: Admitted,
  { queueMs, loadMs }: Pick<Timings, 'queueMs' | 'loadMs'>,
): Promise<GenerateResult> {
  const {
    refiner,
    request,
    planned,
    control,
    controls: loaded,
    choices,
    decoders,
    learnedWords,
    onStage,
  } = admitted;
  const { seeds } = planned.work;
  const encoding = planned.effective;
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
    admitted.onProgress({ ...step, previews: await encodeImages(await finished(previews), seeds, encoding) });
  };
  const ahead = hires ? work.count * hires.evaluations : 0;
  const run = { evaluator: worker.evaluator, ticket, onStep, onStage, onRepeatedDecode };
  const drawn = await latentDiffusionRefined(
    model,
    work,
    handover,
    (work) => worker.store.use(refiner!, [], work),
    { ...run, ahead, onStep: (step) => onStep({ ...step, total: step.total + ahead }) },
  );
  const outcome = hires ? await goOver(model, work, hires, drawn, run) : drawn;
  const notes = [
    ...planned.effective.notes,
    ...(repeated > 0 ? [decodedAgain(worker)] : []),
    ...(worker.weights === 'int8' ? ["weights: in 8 bits, but for the autoencoder's"] : []),
  ];
  const effective = effectiveOf({ ...planned.effective, notes }, outcome, {
    modelHash: await model.hash,
    decoder: decoderName(choices.images),
    control: await effectiveControls(control, controls),
  });
  const decoded = performance.now();
  const over = stages(onStage);
  const images = await encodeImages(await finished(outcome.images), seeds, encoding, effective);
  over('encode images', { images: images.length });
  const encodeImageMs = outcome.timings.encodeImageMs + performance.now() - decoded;
  return {
    images: request.returnLatents ? withLatents(images, outcome) : images,
    effective,
    timings: { queueMs, loadMs, ...outcome.timings, encodeImageMs },
    textTokens: outcome.textTokens,
  };
}

function decodedAgain({ dtype }: Pick<DeviceInfo, 'dtype'>): string {
  return `decoder: ${dtype} gave NaN or infinity; decoded in float32`;
}
