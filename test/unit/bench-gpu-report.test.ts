import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuModules } from '../../bench/gpu-cases.ts';
import { type GpuCase, pipelineRuns } from '../../bench/gpu-measure.ts';
import { type GpuReport, resumed, type TorchColumns, withTorchOf } from '../../bench/gpu-report.ts';
import { type RunOptions, runTable, torchVersion } from '../../bench/gpu-run.ts';

const ours: GpuCase = {
  ...{ ours_ms: 3, vendor_ms: null, t0_ms: 2, relative_error: 0.001 },
  ...{ torch_eager_ms: null, torch_compile_ms: null },
};
const begun: GpuReport = {
  ...{ device: 'Some GPU', driver: '1.2', commit: 'abc', date: '2030-01-02', command: 'x' },
  ...{ runs: 20, pipelines: { runs: 5, before: 3 }, dtype: 'f16', cases: {}, batches: {} },
};
const reduced: TorchColumns = { version: '2.11', compile: 'reduce-overhead' };

test('a pipeline is timed in fewer runs, after as many as a graph takes', () => {
  expect(pipelineRuns({ runs: 20 })).toEqual({ runs: 5, before: 3 });
  expect(pipelineRuns({ runs: 40 })).toEqual({ runs: 10, before: 3 });
  expect(pipelineRuns({ runs: 12 })).toEqual({ runs: 5, before: 3 });
  expect(pipelineRuns({ runs: 2, warm: 1 })).toEqual({ runs: 2, before: 1 });
});

describe('a result that is gone on with', () => {
  const before: GpuReport = { ...begun, cases: { a: ours }, batches: { b: { 1: 3 } } };

  test('keeps figures and what was said of them; commands are added', () => {
    const now = { ...begun, date: '2030-01-03', command: 'y' };
    const noted = { ...before, note: 'Some note' };
    const second = resumed(now, noted);
    expect(second).toEqual({ ...noted, date: '2030-01-03', command: 'x && y' });
    expect(resumed(now, second).command).toBe('x && y');
  });

  test.each([
    [{ commit: 'abd' }, 'Expected a result of commit abc but received one of abd'],
    [{ driver: '1.3' }, 'Expected a result of driver 1.2 but received one of 1.3'],
    [{ device: 'Other' }, 'Expected a result of device Some GPU but received one of Other'],
    [{ dtype: 'bf16' as const }, 'Expected a result of dtype f16 but received one of bf16'],
    [{ runs: 12 }, 'Expected a result of runs 20 but received one of 12'],
    [
      { pipelines: { runs: 3, before: 1 } },
      'Expected a result of pipelines {"runs":5,"before":3} but received one of {"runs":3,"before":1}',
    ],
  ])('is refused where it has %j', (other, message) => {
    expect(() => resumed(begun, { ...before, ...other })).toThrow(message);
  });

  const compiled = { a: { ...ours, torch_eager_ms: 9, torch_compile_ms: 8 } };
  const eager = { a: { ...ours, torch_eager_ms: 9 } };

  test("has torch's columns of one torch, compiled in one mode", () => {
    const whole = { ...before, cases: compiled, torch: reduced };
    expect(resumed(begun, whole).torch).toEqual(reduced);
    // A mode that nothing is compiled in does not matter.
    expect(resumed({ ...begun, torch: { version: '2.11' } }, whole).torch).toEqual(reduced);
    const tuned: TorchColumns = { version: '2.11', compile: 'max-autotune' };
    expect(() => resumed({ ...begun, torch: tuned }, whole)).toThrow(
      'Expected a result of torch.compile in mode max-autotune but received one of reduce-overhead',
    );
    expect(resumed({ ...begun, torch: tuned }, { ...whole, cases: eager }).torch).toEqual(tuned);
    expect(() => resumed({ ...begun, torch: { ...reduced, version: '2.12' } }, whole)).toThrow(
      "Expected a result of torch's version 2.12 but received one of 2.11",
    );
    // Figures of nobody knows which.
    expect(() => resumed({ ...begun, torch: reduced }, { ...before, cases: eager })).toThrow(
      "Expected a result of torch's version 2.11 but received one of none",
    );
    expect(resumed({ ...begun, torch: reduced }, before).torch).toEqual(reduced);
  });

  test("may have torch's columns of another commit, and says of which", () => {
    const other = { ...before, commit: 'aaa', driver: '1.1', cases: compiled, torch: reduced };
    const of = { commit: 'aaa', driver: '1.1' };
    const first = withTorchOf(begun, other);
    expect(first).toEqual({ ...begun, torch: { ...reduced, of } });
    expect(withTorchOf({ ...begun, commit: 'abd' }, first).torch).toEqual({ ...reduced, of });
    expect(() => withTorchOf(begun, { ...other, device: 'Other' })).toThrow('device Some GPU');
    expect(() => withTorchOf(begun, before)).toThrow('Expected a result with torch');
    // Columns of both are not mixed.
    expect(() => resumed({ ...begun, torch: reduced }, { ...first, cases: compiled })).toThrow(
      `Expected a result of torch's commit and driver none but received one of ${JSON.stringify(of)}`,
    );
  });
});

describe("torch's columns", () => {
  const name = 'vae-decode-512';
  const table = { modules: { [name]: gpuModules[name]! }, parts: {}, pipelines: {} };
  const options: RunOptions = {
    ...{ device: 'cuda:0', dtype: 'f16', runs: 7, names: [name], torchSeconds: 60 },
  };
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'latent-edge-torch-'));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  function python(script: string): string {
    const file = join(dir, 'python');
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
    return file;
  }

  test.each([
    [undefined, 'reduce-overhead'],
    ['max-autotune', 'max-autotune'],
  ] as const)('are asked for as it is, and compiled in mode %s', async (torchCompile, mode) => {
    const log = join(dir, `log-${mode}`);
    const cases = { [name]: { ...ours } };
    const fake = python(`echo "$@" >> "${log}"\necho '{"ms": 5}'`);
    await runTable(
      table,
      { ...options, python: fake, ...(torchCompile && { torchCompile }) },
      cases,
      () => {},
    );
    const asked = readFileSync(log, 'utf8').trim().split('\n');
    expect(asked.map((line) => line.split(' ').slice(-4))).toEqual([
      ['f16', '7', 'cuda:0', 'eager'],
      ['f16', '7', 'cuda:0', mode],
    ]);
    expect(cases[name]).toEqual({ ...ours, torch_eager_ms: 5, torch_compile_ms: 5 });
  });

  test('are taken from another result', async () => {
    const cases = { [name]: { ...ours } };
    const torchOf = { [name]: { ...ours, ours_ms: 1, torch_eager_ms: 9 } };
    await runTable(table, { ...options, torchOf }, cases, () => {});
    expect(cases[name]).toEqual({ ...ours, torch_eager_ms: 9 });
  });

  test('have a version, or there is an error', () => {
    expect(torchVersion(python('echo 2.11'))).toBe('2.11');
    expect(() => torchVersion(python('echo "No module named torch" >&2; exit 1'))).toThrow(
      'Expected a Python with torch but received one that ended with 1: No module named torch',
    );
    expect(() => torchVersion('/no-such-python')).toThrow('ENOENT');
  });
});
