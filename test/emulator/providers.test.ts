import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Graph } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { native, type OpenOptions } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';
import { wave } from '../support/deltas.ts';

// Who computes a product. The emulator pretends to have three libraries: `quick` takes an even number of rows, `slow`
// and `failing` take every matrix product.

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'latent-edge-providers-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** A layer with bias and residual, of so many rows. */
function layer(rows: number, activation = 'none') {
  const g = new Graph('layer');
  const weights = { weight: g.param('weight', [16, 32]), bias: g.param('bias', [16]) };
  const inputs = { x: g.input('x', [rows, 32]), residual: g.input('residual', [rows, 16]) };
  g.output('y', g.op('linear', 'layer', inputs, weights, { activation }));
  return plan(g);
}

/** The outputs of layers, twice each, and who computed them. */
async function run(options: Partial<OpenOptions>, ...plans: ReturnType<typeof layer>[]) {
  const device = await native().open({ device: 'emulator', ...options });
  const weights = await device.loadWeights([wave('weight', [16, 32]), wave('bias', [16])]);
  const outputs: Float32Array[] = [];
  for (const one of plans) {
    const inputs = Object.fromEntries(one.inputs.map(({ name, shape }) => [name, wave(name, shape).data]));
    const program = await device.compile(one, weights);
    for (let i = 0; i < 2; i++) outputs.push((await program.run(inputs)).y as Float32Array);
    await program.dispose();
  }
  const choices = await device.choices();
  await weights.dispose();
  expect(device.memory()).toEqual({ weights: 0, arenas: 0, tensors: 0, scratch: 0 });
  await device.dispose();
  return { outputs, choices };
}

const even = 'f16 6 16 32 bias residual';
const odd = 'f16 7 16 32 bias residual';

test('our own kernels compute everything, unless others are asked for', async () => {
  expect((await run({}, layer(6))).choices).toEqual({});
  expect((await run({ providers: 'hand' }, layer(6))).choices).toEqual({});
});

test('vendor takes a library wherever one can, auto whoever is faster; all give the same', async () => {
  const hand = await run({}, layer(6), layer(7));
  const vendor = await run({ providers: 'vendor' }, layer(6), layer(7));
  const auto = await run({ providers: 'auto' }, layer(6), layer(7));
  expect(vendor.choices).toEqual({ [even]: 'quick', [odd]: 'slow' });
  expect(auto.choices).toEqual({ [even]: 'quick', [odd]: 'hand' });
  for (const { outputs } of [vendor, auto])
    outputs.forEach((output, i) => {
      expect(relativeL2(output, hand.outputs[i]!)).toBeLessThan(1e-3);
    });
});

test('float32 is our own, and what becomes of a sum beyond bias and residual', async () => {
  const silu = layer(6, 'silu');
  const [hand, vendor] = [await run({}, silu), await run({ providers: 'vendor' }, silu)];
  expect(vendor.choices).toEqual({ 'f16 6 16 32 silu onto': 'quick' });
  for (const output of vendor.outputs) expect(relativeL2(output, hand.outputs[0]!)).toBeLessThan(1e-3);
  expect((await run({ providers: 'vendor', dtype: 'f32' }, layer(6))).choices).toEqual({});
  expect((await run({ providers: 'vendor', dtype: 'bf16' }, layer(6))).choices).toEqual({
    [even.replace('f16', 'bf16')]: 'quick',
  });
});

test('what auto found is kept in a file, and taken from there', async () => {
  const choicesFile = join(dir, 'choices.tsv');
  await run({ providers: 'auto', choicesFile }, layer(6), layer(6), layer(7));
  const lines = readFileSync(choicesFile, 'utf8').trimEnd().split('\n');
  expect(lines).toEqual([
    `emulator, kernels 2, hand, quick, slow, failing\t${even}\tquick`,
    `emulator, kernels 2, hand, slow, failing\t${odd}\thand`,
  ]);
  // Another's choice is believed; lines that are none, and of libraries that are not there, are passed over.
  writeFileSync(
    choicesFile,
    ['', 'nonsense', lines[0]!.replace(/quick$/, 'slow'), lines[1]!.replace(/hand$/, 'gone')].join('\n') +
      '\n',
  );
  const { choices } = await run({ providers: 'auto', choicesFile }, layer(6), layer(7));
  expect(choices).toEqual({ [even]: 'slow', [odd]: 'hand' });
  // One that cannot be written costs the time of finding it again.
  const nowhere = join(dir, 'no-such-folder', 'choices.tsv');
  expect((await run({ providers: 'auto', choicesFile: nowhere }, layer(6))).choices).toEqual({
    [even]: 'quick',
  });
  expect(existsSync(nowhere)).toBe(false);
});

test('a provider that there is not is an error', async () => {
  const options = { device: 'emulator', providers: 'best' } as unknown as OpenOptions;
  await expect(native().open(options)).rejects.toThrow('hand, vendor or auto');
});
