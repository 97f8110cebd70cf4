// The fuzz targets of the addon: plans and weights, without Node, as libFuzzer wants them. CLANG chooses the compiler.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const cuda = dirname(dirname(fileURLToPath(import.meta.url)));

export const nativeTargets = ['plan', 'weights'];

/**
 * Builds a target, of what has changed.
 * @returns its path.
 * @throws Error with what to install, or with the compiler's output.
 */
export function buildNative(target) {
  const clang = process.env.CLANG || 'clang++';
  if (spawnSync(clang, ['--version']).error)
    throw new Error(
      `Fuzzing the addon needs ${clang}, which was not found. Install clang 14 or later (Debian, Ubuntu: apt-get install clang), or set CLANG.`,
    );
  const args = [
    '-f',
    'fuzz/Makefile',
    `-j${availableParallelism()}`,
    `CLANG=${clang}`,
    `build/fuzz/${target}`,
  ];
  const make = spawnSync('make', args, { cwd: cuda, encoding: 'utf8' });
  if (make.status !== 0) throw new Error(`make failed:\n${make.stdout}${make.stderr}`.trimEnd());
  return join(cuda, 'build/fuzz', target);
}

/** Inputs to begin from: the op table's own cases; a few files of weights. */
export async function nativeSeeds(target) {
  return target === 'plan' ? planSeeds() : weightSeeds();
}

async function planSeeds() {
  const { opCases } = await import('../../dist/sidecar/doctor/cases.js');
  const plans = opCases().flatMap(({ cases }) => cases.map(({ plan }) => plan));
  return plans
    .filter(({ arenaBytes }) => arenaBytes <= 2 ** 20)
    .flatMap((plan) => ['weight', 'weight8'].map((weight) => Buffer.from(planText(plan, weight))))
    .filter(({ length }) => length <= 4096);
}

/** As fuzz/plan.cc reads it; `weight8`: with weights in 8 bits. */
function planText({ arenaBytes, ops }, weight) {
  const tensor = ({ dtype, offset, shape }) => [dtype, offset, ...shape].join(' ');
  const attr = (name, value) => {
    if (Array.isArray(value)) return `numbers ${name} ${value.join(' ')}`;
    return typeof value === 'number'
      ? `number ${name} ${value}`
      : typeof value === 'boolean'
        ? `flag ${name} ${Number(value)}`
        : `text ${name} ${value}`;
  };
  const lines = ops.flatMap(({ op, inputs, weights, attrs, output }) => [
    `op ${op}`,
    ...Object.entries(inputs).map(([name, input]) => `in ${name} ${tensor(input)}`),
    ...Object.entries(weights).map(([name, { shape }]) => `${weight} ${name} ${shape.join(' ')}`),
    ...Object.entries(attrs).map(([name, value]) => attr(name, value)),
    `out ${tensor(output)}`,
  ]);
  return [`arena ${arenaBytes}`, ...lines, ''].join('\n');
}

function weightSeeds() {
  const floats = Buffer.from(new Float32Array(64).fill(0.5).buffer).toString('latin1');
  const heads = [
    'source a f32 0 8 8',
    'source a f16 0 4 8\nsource b bf16 64 4 8',
    'transposed a f32 0 8 8',
    'source a f32 0 8 8\ndelta a 0.5 none\nup f16 0 8 2\ndown f16 32 2 8',
    'source a f32 0 4 4 2 2\ndelta a 1 none\nup f16 0 4 2\nmid f16 16 2 2 2 2\ndown f16 48 2 4',
    'source a f32 0 8 8\ndelta a 1 hadamard\nup f16 0 8 2\ndown f16 32 2 8\nup2 f16 64 8 2\ndown2 f16 96 2 8',
    'source a f32 0 8 8\ndelta a 1 kronecker\nwhole f16 0 2 2\nwhole2 f16 8 4 4',
  ];
  return heads.map((head) => Buffer.from(`${head}\n\n${floats}`, 'latin1'));
}
