import { errors } from '../../errors.ts';
import type { LearnedWords } from '../../text/learned-words.ts';
import type { MemoryNeed } from '../admission/memory.ts';
import type { Workload } from '../admission/workload.ts';
import type { LatentSize } from '../autoencoder.ts';
import type { Ticket } from '../batching/ticket.ts';
import type { Evaluator } from '../evaluator.ts';
import type { Model } from '../model.ts';
import type { OpenModel } from '../open-model.ts';
import type { OnStage } from '../stage.ts';
import type { Dimension } from './tensor.ts';

/** What a part of a request is run with, when its turn has come. */
export interface Bench {
  evaluator: Evaluator;
  learnedWords(): Promise<LearnedWords>;
  ticket: Ticket;
  onStage?: OnStage | undefined;
  /** Told of each denoising step: of what size in pixels, of how many images, its milliseconds. */
  onStep?: ((kind: { width: number; height: number; images: number }, ms: number) => void) | undefined;
}

/** What a part takes of a device. */
export interface Needs {
  memory: MemoryNeed;
  workload: Workload;
}

/** A part of a request by itself: checked against its model before it waits, then run. */
export interface Part<T> {
  model: string;
  /** @throws ServiceError invalid_argument for what the model cannot do. */
  check(model: OpenModel): Needs;
  run(model: Model, bench: Bench): Promise<T>;
}

export const MAX_BATCH = 16;
const MAX_LATENT_SIDE = 512;
/** Of all latents of a call together; 64 times as many pixels. */
const MAX_LATENT_PIXELS = 2 ** 18;

export const batch: Dimension = { min: 1, max: MAX_BATCH };

/** Heights and widths of latents that a model takes. */
export function latentSide(model: OpenModel): Dimension {
  const step = model.sizeStep / model.latentSpace.scale;
  return { min: step, max: MAX_LATENT_SIDE, step };
}

/** Those of pictures. */
export function pixelSide(model: OpenModel): Dimension {
  return { min: model.sizeStep, max: MAX_LATENT_SIDE * model.latentSpace.scale, step: model.sizeStep };
}

/** @throws ServiceError invalid_argument where a call's tensors stand for too many pixels together. */
export function checkArea(field: string, count: number, { height, width }: LatentSize): void {
  if (count * height * width <= MAX_LATENT_PIXELS) return;
  const most = Math.floor(MAX_LATENT_PIXELS / (height * width));
  throw errors.unexpected(field, `at most ${most} of ${height}x${width} latents`, `${count}`);
}
