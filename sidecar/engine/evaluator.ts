import { type Conditioning, repeat } from './conditioning.ts';
import type { LatentSize, Model } from './model.ts';

/** One denoising step of one request: what the U-Net is asked. */
export interface Evaluation {
  model: Model;
  conditioning: Conditioning;
  /** Scaled latents of all images, [images,C,h,w]. */
  sample: Float32Array;
  images: number;
  size: LatentSize;
  timestep: number;
}

/** Latent pixels of one U-Net run, at most, but for a single image: four of 512×512 without guidance, two with. */
const MAX_LATENT_PIXELS = 4 * 64 * 64;

/**
 * What stands between requests and a device: one thing is done at a time, first come, first served, step by step.
 * So requests that run together take turns. (Running their images in one batch is this class's to do.)
 */
export class Evaluator {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * The U-Net's predictions for each of the texts that the images are conditioned on.
   * @returns as many predictions as there are texts, each [images,C,h,w].
   */
  async evaluate(evaluation: Evaluation, signal?: AbortSignal): Promise<Float32Array[]> {
    const { model, conditioning, sample, images, size, timestep } = evaluation;
    const texts = conditioning.texts;
    const perImage = sample.length / images;
    const perRun = Math.max(1, Math.floor(MAX_LATENT_PIXELS / (texts * size.height * size.width)));
    const predictions = Array.from({ length: texts }, () => new Float32Array(sample.length));
    for (let from = 0; from < images; from += perRun) {
      const n = Math.min(perRun, images - from);
      const [begin, end] = [from * perImage, (from + n) * perImage];
      // Each image once for each text: [texts·n,C,h,w].
      const rows = repeat(sample.subarray(begin, end), texts);
      const predicted = await this.exclusive(async () => {
        const context = await conditioning.forImages(n);
        return model.predict(rows, timestep, context, size);
      }, signal);
      for (const [i, out] of predictions.entries())
        out.set(predicted.subarray(i * n * perImage, (i + 1) * n * perImage), begin);
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
