import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { runnable } from '../../sidecar/doctor/cases.ts';
import type { OpCase, OpName } from '../../sidecar/graph/ops.ts';
import { type NativeDevice, native, type OpenOptions, type Precision } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';

// The code that calls cuBLASLt and cuDNN, on stand-ins of theirs that the emulator's build has beside the addon: they
// are loaded as the real ones are, and compute from the descriptions that they are given.

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'latent-edge-vendors-'));
  process.env.LATENT_EDGE_EMULATED_LIBRARIES = `${dirname(process.env.LATENT_EDGE_ADDON!)}/`;
});
afterEach(() => {
  delete process.env.LATENT_EDGE_FAILING;
});
afterAll(() => {
  delete process.env.LATENT_EDGE_EMULATED_LIBRARIES;
  rmSync(dir, { recursive: true });
});

const linear = (rows: number, activation: string, also: string[], columns = 32): OpCase => ({
  tensors: { x: [rows, 32], weight: [columns, 32] },
  attrs: { activation },
  also,
});
const conv = (x: number[], kernel: number, also: string[], attrs = {}): OpCase => ({
  tensors: { x, weight: [16, 32, kernel, kernel] },
  attrs: { stride: 1, padding: [1, 1, 1, 1], ...attrs },
  also,
});

const cases: [op: OpName, opCase: OpCase, by: string | undefined, shape?: string][] = [
  ['linear', linear(5, 'none', ['bias', 'residual']), 'cublaslt 1', 'f16 5 32 32 bias residual'],
  ['linear', linear(5, 'none', []), 'cublaslt 1', 'f16 5 32 32'],
  ['linear', linear(7, 'silu', ['bias', 'residual']), 'cublaslt 1', 'f16 7 32 32 silu onto'],
  ['linear', linear(6, 'geglu', ['bias'], 48), 'cublaslt 1', 'f16 6 48 32 geglu'],
  // Twelve columns of 16 bits are no multiple of 16 bytes.
  ['linear', linear(5, 'none', ['bias'], 12), 'hand'],
  ['conv2d', conv([2, 5, 4, 32], 3, ['bias', 'residual']), 'cudnn 90000'],
  ['conv2d', conv([1, 5, 4, 32], 3, []), 'cudnn 90000'],
  ['conv2d', conv([2, 5, 6, 32], 3, ['bias', 'temb', 'residual']), 'cudnn 90000'],
  // Padded on one side alone, as autoencoders go down; and where the last row is under no window.
  ['conv2d', conv([1, 6, 8, 32], 3, ['bias'], { stride: 2, padding: [0, 0, 1, 1] }), 'cudnn 90000'],
  ['conv2d', conv([1, 6, 6, 32], 3, ['bias'], { stride: 2, padding: [0, 0, 0, 0] }), 'cudnn 90000'],
  // A window of one pixel is a matrix product; two sources and upsampling are our own.
  ['conv2d', conv([2, 3, 4, 32], 1, ['bias'], { padding: [0, 0, 0, 0] }), 'cublaslt 1'],
  ['conv2d', conv([1, 3, 4, 32], 3, ['bias'], { upsample: [6, 8] }), undefined],
];

/** What an op gives, twice over, and who computed it. */
async function run([op, opCase]: (typeof cases)[number], options: Partial<OpenOptions>, dtype: Precision) {
  const { plan, draw } = runnable(op, opCase);
  const { weights, inputs } = draw();
  const device = await native().open({ device: 'emulator', dtype, poison: true, ...options });
  try {
    const loaded = await device.loadWeights(weights);
    const program = await device.compile(plan, loaded);
    const outputs = [await program.run(inputs), await program.run(inputs)].map(({ y }) => y as Float32Array);
    const choices = await device.choices();
    await program.dispose();
    await loaded.dispose();
    expect(device.memory()).toEqual({ weights: 0, arenas: 0, tensors: 0, scratch: 0 });
    return { outputs, choices };
  } finally {
    await device.dispose();
  }
}

test.each(cases)('%s %j is computed by %s', async (...one) => {
  const [, , by, shape] = one;
  for (const dtype of ['f16', 'bf16'] as const) {
    const hand = await run(one, {}, dtype);
    const vendor = await run(one, { providers: 'vendor' }, dtype);
    expect(Object.values(vendor.choices)).toEqual(by ? [by] : []);
    if (shape && dtype === 'f16') expect(Object.keys(vendor.choices)).toEqual([shape]);
    for (const output of vendor.outputs)
      expect(relativeL2(output, hand.outputs[0]!)).toBeLessThan(dtype === 'f16' ? 1e-3 : 8e-3);
  }
});

const [product, convolution] = [cases[0]!, cases[5]!];

test('auto keeps what it timed by the names of the libraries', async () => {
  const choicesFile = join(dir, 'choices.tsv');
  for (const one of [product, convolution]) await run(one, { providers: 'auto', choicesFile }, 'f16');
  expect(readFileSync(choicesFile, 'utf8')).toBe(
    'emulator, kernels 2, hand, cublaslt 1\tf16 5 32 32 bias residual\tcublaslt 1\n' +
      'emulator, kernels 2, hand, cudnn 90000\tf16 40 16 32 2 5 4 3 3 1 1 1 bias residual\tcudnn 90000\n',
  );
});

test.each([
  ['cublasLtCreate', product],
  ['cublasLtMatmulDescCreate', product],
  ['cublasLtMatmulAlgoGetHeuristic', product],
  ['cudnnCreate', convolution],
  ['cudnnBackendCreateDescriptor', convolution],
  ['cudnnBackendFinalize', convolution],
] as const)('where %s fails the product is our own', async (name, one) => {
  process.env.LATENT_EDGE_FAILING = name;
  const { outputs, choices } = await run(one, { providers: 'vendor' }, 'f16');
  expect(Object.values(choices).filter((by) => by !== 'hand')).toEqual([]);
  expect(outputs).toEqual((await run(one, {}, 'f16')).outputs);
});

test.each([
  ['cublasLtMatmul', product, 'linear at test.linear (op 0): cuBLASLt, a product: status 14'],
  ['cudnnBackendExecute', convolution, 'conv2d at test.conv2d (op 0): cuDNN, a convolution: status 5000'],
] as const)('where %s fails auto takes our own, vendor names the op', async (name, one, message) => {
  process.env.LATENT_EDGE_FAILING = name;
  expect(Object.values((await run(one, { providers: 'auto' }, 'f16')).choices)).toEqual(['hand']);
  await expect(run(one, { providers: 'vendor' }, 'f16')).rejects.toThrow(message);
});

test('where there are no libraries everything is our own', async () => {
  const folder = process.env.LATENT_EDGE_EMULATED_LIBRARIES;
  try {
    process.env.LATENT_EDGE_EMULATED_LIBRARIES = `${dir}/`;
    expect((await run(product, { providers: 'vendor' }, 'f16')).choices).toEqual({});
  } finally {
    process.env.LATENT_EDGE_EMULATED_LIBRARIES = folder;
  }
});

/** Whatever fails, the device goes on. */
test('after an error the same device computes', async () => {
  const { plan, draw } = runnable(product[0], product[1]);
  const { weights, inputs } = draw();
  const device: NativeDevice = await native().open({ device: 'emulator', providers: 'vendor' });
  const loaded = await device.loadWeights(weights);
  const program = await device.compile(plan, loaded);
  process.env.LATENT_EDGE_FAILING = 'cublasLtMatmul';
  await expect(program.run(inputs)).rejects.toThrow('status 14');
  delete process.env.LATENT_EDGE_FAILING;
  expect((await program.run(inputs)).y).toBeDefined();
  for (const one of [program, loaded, device]) await one.dispose();
});
