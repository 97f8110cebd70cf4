import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { GpuCase } from '../../bench/gpu-measure.ts';
import { gpuPage, gpuPlot } from '../../bench/gpu-page.ts';
import { GPU_RESULT, type GpuReport, readReport } from '../../bench/gpu-report.ts';

test('docs/gpu.md is what the result gives, or says that there is none', () => {
  const report = existsSync(GPU_RESULT) ? readReport(GPU_RESULT) : undefined;
  expect(readFileSync(new URL('../../docs/gpu.md', import.meta.url), 'utf8')).toBe(gpuPage(report));
});

const one: GpuCase = {
  ours_ms: 3,
  vendor_ms: null,
  torch_eager_ms: 12,
  torch_compile_ms: 6,
  t0_ms: 2,
  relative_error: 0.001,
};

test('a result becomes a table and bars in proportion', () => {
  const cases = {
    a: one,
    b: { ...one, ours_ms: 4, relative_error: null },
    'sd15-unet-b2': { ...one, ours_ms: 3.6 },
    'sd15-20step': { ...one, ours_ms: 80.01 },
    'vae-decode-512': { ...one, ours_ms: 4 },
    'sdturbo-unet-b1': { ...one, ours_ms: 5 },
    'sd-turbo-1step': { ...one, ours_ms: 10 },
  };
  const report: GpuReport = {
    device: 'Some GPU',
    driver: '1.2',
    commit: 'abc',
    date: '2030-01-02T03:04:05Z',
    command: 'npm run bench:gpu',
    runs: 20,
    pipelines: { runs: 5, before: 3 },
    settle: 500,
    torch: { version: '2.11', compile: 'reduce-overhead' },
    dtype: 'f16',
    cases,
    batches: { 'some-unet': { 1: 3, 2: 4, 4: 6 } },
  };
  const page = gpuPage(report);
  expect(page).toContain('- Met: sd15-unet-b2 3.6 ms (3.60), vae-decode-512 4.4 ms (4.00).');
  expect(page).toContain('- Missed: sd15-20step 80 ms (80.01), sd-turbo-1step 8 ms (10.00).');
  expect(page).toMatch(/- Not measured: .*sdxl-turbo-1step 10 ms/);
  expect(page).toContain(
    'Longer than the modules by themselves, added up in brackets: sd-turbo-1step 10.00 ms (9.00).',
  );
  expect(page).toContain('`npm run bench:gpu`; torch 2.11, torch.compile in mode reduce-overhead');
  const of = { commit: 'abb', driver: '1.1' };
  const older = gpuPage({ ...report, note: 'Some note', torch: { ...report.torch!, of } });
  expect(older).toContain('in mode reduce-overhead, at commit abb with driver 1.1\n\nSome note.\n');
  const eager = Object.fromEntries(
    Object.entries(cases).map(([name, each]) => [name, { ...each, torch_compile_ms: null }]),
  );
  expect(gpuPage({ ...report, cases: eager })).toContain('`; torch 2.11\n');
  expect(page).toContain('Pipelines: of 5 after 3 that take 500 ms at least');
  expect(page).toContain('| some-unet | 3.00 (1.00×) | 4.00 (1.50×) | 6.00 (2.00×) |');
  expect(page).toContain('Some GPU, driver 1.2, f16, commit abc, 2030-01-02');
  expect(page).toContain('| a | 3.00 |  | 12.00 | 6.00 | 2.00 | 0.67 | 1.0e-3 |');
  expect(page).toContain('| b | 4.00 |  | 12.00 | 6.00 | 2.00 | 0.50 |  |');
  const widths = [
    ...gpuPlot({ a: cases.a, b: cases.b }).matchAll(
      /width="([\d.]+)" height="10" fill="#(?:1f77b4|bdbdbd|737373)"/g,
    ),
  ].map(([, width]) => Number(width));
  // After the legend's: ours, eager and compiled, of each case.
  expect(widths.slice(-6).map((w) => w / widths.at(-2)!)).toEqual(
    [3, 12, 6, 4, 12, 6].map((ms) => expect.closeTo(ms / 12, 2)),
  );
});
