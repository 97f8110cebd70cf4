import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

// The script that runs the GPU's tests and the benchmark from a pack, on a pack whose Node only notes what it is asked
// for: which stages there are, in which order, what they call, and what becomes of one that fails or has no time.

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'latent-edge-pack-'));
  for (const folder of ['pack', 'bin', 'empty']) mkdirSync(join(dir, folder));
  script('bin/xz', 'cat');
  script('bin/compute-sanitizer', 'echo "compute-sanitizer $*" >> "$CALLS"');
  script('bin/python3', 'exit 1');
  // The addon knows the device where $HAS_GPU says so.
  script(
    'pack/node.xz',
    `echo "node $*" >> "$CALLS"
case "$*" in
  *devices*) exit "$HAS_GPU" ;;
  *"$FAILING"*) exit 3 ;;
esac`,
  );
  spawnSync('tar', ['-C', join(dir, 'empty'), '-cf', join(dir, 'pack/tree.tar.xz'), '.']);
  writeFileSync(join(dir, 'pack/commit'), 'abc\n');
  copyFileSync('cuda/pack/run.sh', join(dir, 'pack/run.sh'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function script(path: string, body: string) {
  writeFileSync(join(dir, path), `#!/bin/sh\n${body}\n`);
  chmodSync(join(dir, path), 0o755);
}

function run(stages: string[], env: Record<string, string> = {}) {
  const calls = join(dir, 'calls');
  const { status, stderr } = spawnSync('bash', [join(dir, 'pack/run.sh'), ...stages], {
    encoding: 'utf8',
    env: {
      PATH: `${join(dir, 'bin')}:${process.env.PATH}`,
      ...{ OUT: join(dir, 'out'), WORK: join(dir, 'work'), CALLS: calls },
      ...{ HAS_GPU: '0', FAILING: 'nothing', ...env },
    },
  });
  const lines = readFileSync(join(dir, 'out/stages.jsonl'), 'utf8').trim().split('\n');
  return {
    status,
    stderr,
    stages: lines
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { stage: string; status: number | string }),
    calls: existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n') : [],
  };
}

const all = ['doctor', 'ops', 'bench', 'torch', 'memory', 'golden', 'memcheck', 'racecheck', 'compile'];

test('all stages, what is worth most first', () => {
  const { status, stages, calls } = run([]);
  expect(stages.map(({ stage, status }) => [stage, status])).toEqual(
    ['unpack', 'build', ...all].map((stage) => [stage, 0]),
  );
  expect(status).toBe(0);
  const asked = (...words: string[]) => calls.filter((call) => words.every((word) => call.includes(word)));
  expect(asked('cuda/build.mjs')).toEqual([]);
  expect(asked('doctor --device cuda:0')).toHaveLength(3); // by itself, and under both of the sanitizer's tools
  for (const tool of ['memcheck', 'racecheck'])
    expect(asked('compute-sanitizer', `--tool ${tool}`, '--error-exitcode 9')).toHaveLength(1);
  for (const name of ['ops', 'program', 'golden'])
    expect(asked('--project gpu', `test/gpu/${name}`)).toHaveLength(1);
  expect(asked('bench/main.js gpu --device cuda:0 --resume')).toHaveLength(3);
  expect(asked('--torch eager', '--python')).toHaveLength(1);
});

test('an addon that does not know the GPU is built anew', () => {
  const { status, stages, calls } = run(['doctor'], { HAS_GPU: '1' });
  expect(status).toBe(0);
  expect(stages.map(({ stage }) => stage)).toEqual(['unpack', 'build', 'doctor']);
  expect(calls.filter((call) => call.startsWith('node cuda/'))).toEqual([
    'node cuda/build.mjs --gpu',
    'node cuda/resources.mjs',
  ]);
});

test('a stage that fails does not keep the others, and shows in the end', () => {
  const { status, stages } = run(['ops', 'golden'], { FAILING: 'test/gpu/ops' });
  expect(stages.slice(2)).toEqual([
    { stage: 'ops', status: 3, seconds: expect.any(Number) },
    { stage: 'golden', status: 0, seconds: expect.any(Number) },
  ]);
  expect(status).toBe(1);
});

test('where there is no time left a stage is not begun', () => {
  const { status, stages } = run(['ops'], { BUDGET: '4' });
  expect(stages[0]).toMatchObject({ stage: 'unpack', status: 'skipped, no time left' });
  expect(status).toBe(1);
});

test('a stage that there is not is an error that names those that there are', () => {
  expect(run(['everything']).stderr).toContain('Expected stages of unpack build doctor ops');
});
