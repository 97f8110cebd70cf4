import { expect, test } from 'vitest';
import type { HostTensor } from '../../sidecar/checkpoints/safetensors.ts';
import { modules, type Tensors } from '../../sidecar/engine/modules/index.ts';
import { type NativeDevice, native, type Precision } from '../../sidecar/native.ts';
import { relativeL2 } from './compare.ts';
import { fixtureCase, fixtureModel } from './fixtures.ts';

/** A module, the case of test/fixtures/cases that the reference computed, and the model it is of. */
export type GoldenCase = [module: string, name: string, model: string];

export const GOLDEN: GoldenCase[] = [
  ['text_encoder', 'text-clip-l', 'tiny-sd15'],
  ['text_encoder', 'text-clip-h', 'tiny-sd21-v'],
  ['text_encoder_2', 'text-clip-g', 'tiny-sdxl'],
  ['unet', 'unet-sd15', 'tiny-sd15'],
  ['unet', 'unet-sd15-odd', 'tiny-sd15'],
  ['unet', 'unet-sd15-inpaint', 'tiny-sd15-inpaint'],
  ['unet', 'unet-sd21', 'tiny-sd21-v'],
  ['unet', 'unet-sdxl', 'tiny-sdxl'],
  ['vae.decode', 'vae', 'tiny-sd15'],
  ['vae.encode', 'vae', 'tiny-sd15'],
  ['vae.decode', 'vae-sdxl', 'tiny-sdxl'],
];

/** Relative slack on top of twice the naive error. */
const SLACK: Record<Precision, number> = { f16: 2e-4, bf16: 2e-3, f32: 1e-5 };

/**
 * Each module on a GPU, as far from the reference as twice the CPU is when it rounds at the same places: `open` and
 * the CPU's own rounding give what docs/numerics.md calls naive16.
 */
export function testGolden(
  open: (dtype: Precision) => Promise<NativeDevice>,
  cases: GoldenCase[],
  dtypes: Precision[],
) {
  const each = cases.flatMap((one) => dtypes.map((dtype) => [...one, dtype] as const));
  test.each(each)('%s of %s (%s) in %s', async (module, name, model, dtype) => {
    const { tensors } = fixtureCase(name);
    const inputs: Tensors = new Map();
    for (const [key, { shape, data }] of Object.entries(tensors))
      if (key.startsWith('in.'))
        inputs.set(key.slice(3), { shape: [...shape], data: Float32Array.from(data) } as HostTensor);
    const path = await fixtureModel(model);
    const run = async (device: NativeDevice) => {
      try {
        return await modules[module]!(device, path, inputs);
      } finally {
        await device.dispose();
      }
    };
    const actual = await run(await open(dtype));
    const naive = await run(await native().open({ device: 'cpu', dtype }));
    let compared = 0;
    for (const [key, { data }] of actual) {
      const exact = tensors[`out.${key}`];
      if (!exact) continue;
      const bound = 2 * relativeL2(naive.get(key)!.data, exact.data) + SLACK[dtype];
      expect(relativeL2(data, exact.data), key).toBeLessThanOrEqual(bound);
      compared++;
    }
    expect(compared).toBeGreaterThan(0);
  });
}
