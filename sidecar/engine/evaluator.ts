import type { LatentSize } from './autoencoder.ts';
import type { Conditioning } from './conditioning/index.ts';
import { repeat } from './conditioning/text.ts';
import type { TextGroup } from './control/controls.ts';
import type { Model } from './model.ts';

/** One denoising step of one request: what the U-Net is asked. */
export interface Evaluation {
  model: Model;
  conditioning: Conditioning;
  /** What the U-Net takes of all images: scaled latents, [images,C,h,w]. */
  sample: Float32Array;
  images: number;
  size: LatentSize;
  timestep: number;
  /** How the texts are put together, and the ControlNets with them; without it, all at once and none. */
  groups?: readonly TextGroup[];
}

/** Latent pixels of one U-Net run, at most, but for a single image: four of 512×512 without guidance, two with. */
const MAX_LATENT_PIXELS = 4 * 64 * 64;

/** Images that the U-Net sees at once, each under so many texts. */
export function imagesPerRun(texts: number, { height, width }: LatentSize): number {
  return Math.max(1, Math.floor(MAX_LATENT_PIXELS / (texts * height * width)));
}

/**
 * What stands between requests and a device: one thing is done at a time, first come, first served, step by step.
 * So requests that run together take turns. (Running their images in one batch is this class's to do.)
 */
export class Evaluator {
  #last: Promise<unknown> = Promise.resolve();
  #controlNetEvaluations = 0;

  /** Evaluations of ControlNets so far: one for each image and text that one saw. */
  get controlNetEvaluations(): number {
    return this.#controlNetEvaluations;
  }

  /**
   * The U-Net's predictions for each of the texts that the images are conditioned on.
   * @returns as many predictions as there are texts, each [images,outChannels,h,w].
   */
  async evaluate(evaluation: Evaluation, signal?: AbortSignal): Promise<Float32Array[]> {
    const { model, conditioning, sample, images, size, timestep } = evaluation;
    const all = [...Array(conditioning.texts).keys()];
    const { groups = [{ texts: all, controls: [] }] } = evaluation;
    const perImage = sample.length / images;
    const perPrediction = model.denoiser.outChannels * size.height * size.width;
    const predictions = all.map(() => new Float32Array(images * perPrediction));
    for (const { texts, controls } of groups) {
      for (const { control } of controls) await control.prepare();
      const perRun = imagesPerRun(texts.length, size);
      for (let from = 0; from < images; from += perRun) {
        const n = Math.min(perRun, images - from);
        // Each image once for each text: [texts·n,C,h,w].
        const rows = repeat(sample.subarray(from * perImage, (from + n) * perImage), texts.length);
        const predicted = await this.exclusive(async () => {
          const context = await conditioning.forImages(n, texts);
          const inputs = [];
          for (const { control, factors } of controls) inputs.push(await control.inputs(factors, n, texts));
          return model.denoiser.predict(rows, timestep, context, size, inputs);
        }, signal);
        for (const { control } of controls) {
          control.control.evaluations += n * texts.length;
          this.#controlNetEvaluations += n * texts.length;
        }
        for (const [i, text] of texts.entries()) {
          const part = predicted.subarray(i * n * perPrediction, (i + 1) * n * perPrediction);
          predictions[text]!.set(part, from * perPrediction);
        }
      }
    }
    return predictions;
  }

  /** Runs `work` once all that came before it is done; not at all, when the signal has fired by then. */
  exclusive<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const turn = this.#last.then(() => {
      signal?.throwIfAborted();
      return work();
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}
