import { expect, test } from 'vitest';
import { inpaint } from '../../sidecar/engine/beginnings/inpaint.ts';
import type { MaskedContent } from '../../sidecar/engine/masked-content.ts';
import { rawPicture } from '../../sidecar/engine/picture.ts';

/** Latents [1,2,1,2] of a picture of 16×8 whose right half is made anew: each channel's mean, and noise 1, 2, 3, 4. */
async function latents(content: MaskedContent, signal?: AbortSignal): Promise<number[]> {
  const size = { width: 16, height: 8 };
  const rgb = Uint8Array.from({ length: 3 * 16 * 8 }, (_, i) => 10 * (Math.floor(i / 3) % 16));
  const mask = Uint8Array.from({ length: 16 * 8 }, (_, i) => (i % 16 < 8 ? 0 : 255));
  const model = {
    autoencoder: {
      scale: 8,
      // The red of each latent's last pixel; twice that.
      encode: async (image: Float32Array) => {
        const reds = [image[7]!, image[15]!].map((red) => Math.round((red + 1) * 127.5));
        return {
          mean: Float32Array.from([...reds, ...reds.map((red) => 2 * red)]),
          std: new Float32Array(4),
        };
      },
    },
  };
  const work = {
    ...{ shape: [2, 1, 2], count: 1 },
    sampler: {
      timesteps: [2, 1],
      addNoise: (z: Float32Array, noise: Float32Array) => z.map((value, i) => value + noise[i]! / 10),
    },
  };
  const noise = { draw: () => Float32Array.of(1, 2, 3, 4), drawShared: (n: number) => new Float32Array(n) };
  const source = {
    ...{ image: rawPicture(rgb, size), mask: rawPicture(mask, size) },
    ...{ content, isNoise: false, first: 0 },
  };
  const begun = await inpaint(model as never, work as never, source, noise as never, (run) => run(), signal);
  return [...begun.latents].map((value) => Math.round(10 * value) / 10);
}

test('what is made anew begins from the picture, the colours around it, noise or nothing', async () => {
  // Left and right, of both channels.
  expect(await latents('original')).toEqual([70.1, 150.2, 140.3, 300.4]);
  const [left, right, ...second] = await latents('fill');
  expect([left, second]).toEqual([70.1, [140.3, 2 * (right! - 0.2) + 0.4]]);
  // Pillow's, as in masked-content.test.ts.
  expect(Math.round(right! - 0.2)).toBe(21);
  expect(await latents('latent-noise')).toEqual([70.1, 2.2, 140.3, 4.4]);
  expect(await latents('latent-nothing')).toEqual([70.1, 0.2, 140.3, 0.4]);
});

test('who has left does not wait for what fills the masked part', async () => {
  const reason = new Error('left');
  await expect(latents('fill', AbortSignal.abort(reason))).rejects.toBe(reason);
});
