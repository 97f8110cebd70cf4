import { errors } from '../../errors.ts';
import type { LearnedWords } from '../../text/learned-words.ts';
import type { LatentSize } from '../autoencoder.ts';
import type { Ticket } from '../batching/ticket.ts';
import type { Evaluator } from '../evaluator.ts';
import type { Model } from '../model.ts';
import type { OpenModel } from '../open-model.ts';
import type { Dimension } from './tensor.ts';

/** What a part of a request is run with, when its turn has come. */
export interface Bench {
  evaluator: Evaluator;
  /** Bytes that weights and one program may take together. */
  memoryLimit: number;
  learnedWords(): Promise<LearnedWords>;
  ticket: Ticket;
}

/** A part of a request by itself: checked against its model before it waits, then run. */
export interface Part<T> {
  model: string;
  /** @throws ServiceError invalid_argument for what the model cannot do. */
  check(model: OpenModel): void;
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

/** @throws ServiceError out_of_memory where something never fits beside a model's weights. */
export function checkFits(what: string, bytes: number, model: Model, limit: number): void {
  if (model.bytes + bytes <= limit) return;
  const gigabytes = (n: number) => `${(n / 1e9).toPrecision(3)} GB`;
  throw errors.neverFits(
    `Expected what fits into the ${gigabytes(limit)} of memory that this device has, but ${what} takes ` +
      `${gigabytes(bytes)} beside the ${gigabytes(model.bytes)} of the weights of ${model.name}: send a smaller tensor`,
  );
}
