import type { LatentSize } from './autoencoder.ts';
import { Arrivals } from './batching/arrivals.ts';
import { Batches, type BatchLimits, BatchRow, type Step } from './batching/batches.ts';
import type { Occupancy } from './batching/occupancy.ts';
import type { Ticket } from './batching/ticket.ts';
import { Alone, Turns } from './batching/turns.ts';
import type { TextGroup } from './control/controls.ts';
import { type Context, type Denoiser, kindOf } from './denoiser.ts';

/** One denoising step of one request: what the U-Net is asked. */
export interface Evaluation {
  denoiser: Denoiser;
  /** Of each text that the images are conditioned on. */
  contexts: readonly Context[];
  /** What the U-Net takes of all images: scaled latents, [images,C,h,w]. */
  sample: Float32Array;
  images: number;
  size: LatentSize;
  timestep: number;
  /** How the texts are put together, and the ControlNets with them; without it, all at once and none. */
  groups?: readonly TextGroup[];
}

/** Latent pixels of one U-Net run, at most: four rows of 512×512. */
const MAX_LATENT_PIXELS = 4 * 64 * 64;

/** Rows of one U-Net run, at most; two of any size, as guidance has them. */
export function rowsPerRun({ height, width }: LatentSize): number {
  return Math.max(2, Math.floor(MAX_LATENT_PIXELS / (height * width)));
}

/**
 * What stands between requests and a device. Its unit is a row: one image under one text, in one step of one request.
 * Whenever the device is free, the first in order has its turn, and rows that can share its plan come along. Other work,
 * such as encoding and decoding, has the device to itself, in the same order.
 */
export class Evaluator {
  readonly #turns = new Turns();
  readonly #arrivals = new Arrivals();
  readonly #batches: Batches;
  #controlNetEvaluations = 0;

  /** @param hasRoom whether the device has memory for so many bytes more; default: always. */
  constructor({ hasRoom = () => true, onRun }: Partial<Pick<BatchLimits, 'hasRoom' | 'onRun'>> = {}) {
    const isShort = () => this.#arrivals.isShort();
    this.#batches = new Batches({ hasRoom, onRun, isShort, maxRows: ({ size }) => rowsPerRun(size) });
  }

  /** Evaluations of ControlNets so far: one for each image and text that one saw. */
  get controlNetEvaluations(): number {
    return this.#controlNetEvaluations;
  }

  get occupancy(): Occupancy {
    return this.#batches.occupancy;
  }

  /**
   * The U-Net's predictions for each of the texts that the images are conditioned on.
   * @returns as many predictions as there are texts, each [images,outChannels,h,w].
   * @throws the reason of the ticket's signal, where it fires before they have had their turn.
   */
  async evaluate(evaluation: Evaluation, ticket: Ticket): Promise<Float32Array[]> {
    const { denoiser, contexts, sample, images, size, timestep } = evaluation;
    const { groups = [{ texts: [...contexts.keys()], controls: [] }] } = evaluation;
    for (const { texts, controls } of groups)
      for (const { control } of controls)
        await control.prepare(texts, (work) => this.exclusive(work, ticket), ticket.signal);

    const step: Step = { ticket, denoiser };
    const perImage = sample.length / images;
    const samples = Array.from({ length: images }, (_, i) =>
      sample.subarray(i * perImage, (i + 1) * perImage),
    );
    const perPrediction = denoiser.outChannels * size.height * size.width;
    const predictions = contexts.map(() => new Float32Array(images * perPrediction));
    const evaluate = async (i: number, text: number, { controls }: TextGroup) => {
      const row = {
        sample: samples[i]!,
        timestep,
        context: contexts[text]!,
        controls: controls.map(({ control, factors }) => control.row(factors, text)),
      };
      const waiting = new BatchRow(this.#batches, step, kindOf(row, size), row);
      this.#turns.add(waiting);
      predictions[text]!.set(await waiting.prediction, i * perPrediction);
      for (const { control } of controls) control.control.evaluations++;
      this.#controlNetEvaluations += controls.length;
    };
    await Promise.all(
      Array.from({ length: images }, (_, i) =>
        groups.flatMap((group) => group.texts.map((text) => evaluate(i, text, group))),
      ).flat(),
    );
    return predictions;
  }

  /**
   * A request comes that may go before others, and is not in line yet: the next batch is to be short.
   * @returns to be called when its own work is about to begin, or it comes no more.
   */
  expect(): () => void {
    return this.#arrivals.add();
  }

  /** Runs `work` alone on the device when its turn comes; not at all, when the ticket's signal has fired by then. */
  exclusive<T>(work: () => Promise<T>, ticket: Ticket): Promise<T> {
    const waiting = new Alone(work, ticket);
    this.#turns.add(waiting);
    return waiting.result;
  }
}
