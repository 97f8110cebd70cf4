import { afterEach, beforeEach, expect, test } from 'vitest';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { packedLinear } from '../../sidecar/models/layers.ts';
import { type NativeDevice, type NativeWeights, native } from '../../sidecar/native.ts';
import { wave } from '../support/deltas.ts';

// Weights of several checkpoints in one plan: one of them as it is, others under a prefix of their names.

const WIDTH = 48;

/** x [3,48] → q and k of each prefix in turn, packed. */
function traced(prefixes: string[]) {
  const g = new Graph('layers');
  const x = g.input('x', [3, WIDTH]);
  prefixes.forEach((prefix, i) => {
    g.output(`y.${i}`, packedLinear(g, new Weights(g, prefix), ['q', 'k'], x, WIDTH, { bias: false }));
  });
  return plan(g);
}

const x = wave('x', [3, WIDTH]).data;
const checkpoint = (seed: string) =>
  ['q', 'k'].map((name) => ({ ...wave(`${seed}.${name}`, [WIDTH, WIDTH]), name: `${name}.weight` }));

let device: NativeDevice;
beforeEach(async () => {
  device = await native().open({ device: 'cpu', threads: 2, poison: true });
});
afterEach(() => device.dispose());

async function run(weights: NativeWeights, prefixes: string[]) {
  const program = await device.compile(traced(prefixes), weights);
  const out = await program.run({ x });
  await program.dispose();
  return prefixes.map((_, i) => out[`y.${i}`] as Float32Array);
}

test('each is found where its prefix says, and packed once', async () => {
  const [base, a, b] = await Promise.all(['base', 'a', 'b'].map((s) => device.loadWeights(checkpoint(s))));
  const alone = [(await run(base!, ['']))[0], (await run(a!, ['']))[0], (await run(b!, ['']))[0]];
  const held = device.memory().weights;
  const both = await device.loadWeights([], { base, under: { 'control.0.': a!, 'control.1.': b! } });
  expect(await run(both, ['', 'control.0', 'control.1'])).toEqual(alone);
  const swapped = await device.loadWeights([], { under: { 'control.0.': b!, 'control.1.': a! } });
  expect(await run(swapped, ['control.0', 'control.1'])).toEqual([alone[2], alone[1]]);
  expect(device.memory().weights).toBe(held);
});

test('they last as long as what they are part of', async () => {
  const part = await device.loadWeights(checkpoint('a'));
  const [alone] = await run(part, ['']);
  const all = await device.loadWeights([], { under: { 'control.0.': part } });
  await part.dispose();
  expect(await run(all, ['control.0'])).toEqual([alone]);
  await all.dispose();
  expect(device.memory().weights).toBe(0);
});

test('sources and deltas come before them', async () => {
  const part = await device.loadWeights(checkpoint('a'));
  const [alone] = await run(part, ['']);
  const under = { 'control.0.': part };
  const whole = { ...wave('delta', [WIDTH, WIDTH]), name: 'delta' };
  const adapted = await device.loadWeights([], {
    under,
    deltas: [{ weight: 'control.0.q.weight', scale: 0.5, factors: [{ whole }] }],
  });
  const [changed] = await run(adapted, ['control.0']);
  const row = (y: Float32Array | undefined, part: number) => y!.slice(part * WIDTH, (part + 1) * WIDTH);
  expect(row(changed, 0)).not.toEqual(row(alone, 0));
  expect(row(changed, 1)).toEqual(row(alone, 1));

  const other = checkpoint('b')[0]!;
  const replaced = await device.loadWeights([{ ...other, name: 'control.0.q.weight' }], { under });
  const [out] = await run(replaced, ['control.0']);
  expect(row(out, 0)).not.toEqual(row(alone, 0));
  expect(row(out, 1)).toEqual(row(alone, 1));
});

test('what is nowhere is an error that names it', async () => {
  const part = await device.loadWeights(checkpoint('a'));
  const all = await device.loadWeights([], { under: { 'control.0.': part } });
  await expect(device.compile(traced(['control.1']), all)).rejects.toThrow(/"control\.1\.q\.weight"/);
  const wrong = { 'control.0.': 3 as unknown as NativeWeights };
  await expect(device.loadWeights([], { under: wrong })).rejects.toThrow(
    'Expected NativeWeights for options.under.control.0. but received 3',
  );
});
