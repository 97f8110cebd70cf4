import { readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { addUp, CASES, type RequestCase, SdcppParts } from '../../bench/cpu/cases.ts';
import { judgement } from '../../bench/cpu/goals.ts';
import { originalNames } from '../../bench/cpu/original-controlnet.ts';
import { CPU_PAGE, cpuPage, readCpuReports } from '../../bench/cpu/page.ts';
import { addCase, type CpuReport, resumed } from '../../bench/cpu/report.ts';
import { buildOf, timesOf } from '../../bench/cpu/sdcpp.ts';
import { parseConfig } from '../../sidecar/checkpoints/config.ts';
import { traceControlContext, traceControlNet, traceHint } from '../../sidecar/models/controlnet.ts';
import { controlNetConfig } from '../../sidecar/models/controlnet-config.ts';

test('docs/cpu.md is what the results give, or says that there are none', () => {
  expect(readFileSync(CPU_PAGE, 'utf8'), 'npm run bench -- cpu-page').toBe(cpuPage(readCpuReports()));
});

test('a result becomes a table with ratios; what was not measured is left out', () => {
  const measured = { ours_s: 2, ours_rss_mb: 1234, fraction_of_peak: 0.5 };
  const page = cpuPage([
    {
      machine: 'Some CPU; avx2, 2 threads',
      peak_gflops: 205.6,
      commit: 'abc',
      date: '2030-01-02T03:04:05Z',
      command: 'npm run bench:cpu',
      cases: {
        a: { ...measured, torch_s: 5, sdcpp_s: 20 },
        b: { ...measured, ours_s: 0.25, torch_s: null, sdcpp_s: null },
      },
    },
  ]);
  expect(page).toContain(
    'Some CPU; avx2, 2 threads, FMA peak 206 GFLOP/s, commit abc, 2030-01-02: `npm run bench:cpu`',
  );
  expect(page).toContain('| a | 2.00 | 5.00 | 20.00 | 2.50× | 10.00× | 0.50 | 1234 |');
  expect(page).toContain('Of the goals:');
  expect(page).toContain('| b | 0.250 |  |  |  |  | 0.50 | 1234 |');
});

const measured = { ours_s: 2, torch_s: 3, sdcpp_s: 7.9, ours_rss_mb: 3000 };
const begun: CpuReport = {
  ...{ machine: 'Some CPU', peak_gflops: 0, commit: 'abc', date: '2030-01-02', command: 'x', cases: {} },
};

test('a result says which goals are met, which are missed, and which nothing is known of', () => {
  const whole = { ...measured, fraction_of_peak: 0.5 };
  const cases = {
    'sd15-unet-b1': whole,
    'controlnet-sd15-b1': { ...whole, torch_s: 2.98, sdcpp_s: null },
    'sd15-20step': whole,
  };
  expect(judgement({ ...begun, cases })).toEqual([
    '- Met: sd15-unet-b1 1.5× torch (1.500×), sd15-20step within 3000 MB (3000).',
    '- Missed: sd15-unet-b1 4× stable-diffusion.cpp (3.950×), controlnet-sd15-b1 1.5× torch (1.490×).',
    '- Not measured: sd15-unet-b2 1.5× torch, sd15-unet-b2 4× stable-diffusion.cpp, controlnet-sd15-b1 4× stable-diffusion.cpp, vae-decode-512 2× torch, vae-decode-512 6× stable-diffusion.cpp.',
  ]);
  const nearly = { 'sd15-unet-b2': { ...whole, torch_s: null, sdcpp_s: 7.9996 } };
  expect(judgement({ ...begun, cases: nearly })[0]).toBe(
    '- Missed: sd15-unet-b2 4× stable-diffusion.cpp (3.999×).',
  );
  const wider = { ...begun, machine: 'Some CPU; avx512, 2 threads', cases };
  expect(cpuPage([wider])).toContain('Of the same goals, which were set for AVX2:');
  const over = { 'sd15-20step': { ...whole, ours_rss_mb: 3001 } };
  expect(judgement({ ...begun, cases: over })[0]).toBe('- Missed: sd15-20step within 3000 MB (3001).');
});

test('shares are of the highest peak, also of a result that is gone on with', () => {
  const first = resumed(begun, undefined);
  first.note = 'By hand.';
  addCase(first, 'sd15-unet-b1', { ...measured, gflops: 100 }, 200);
  expect(first.cases['sd15-unet-b1']).toEqual({ ...measured, fraction_of_peak: 0.5 });
  const second = resumed({ ...begun, date: '2030-01-03' }, structuredClone(first));
  addCase(second, 'text-clip-l', { ...measured, gflops: 100 }, 250);
  expect(second).toMatchObject({ note: 'By hand.', date: '2030-01-03', peak_gflops: 250 });
  expect(cpuPage([second]).split('\n')).toContain('By hand.');
  const shares = Object.entries(second.cases).map(([name, { fraction_of_peak }]) => [name, fraction_of_peak]);
  expect(shares).toEqual([
    ['text-clip-l', 0.4],
    ['sd15-unet-b1', 0.4],
  ]);
  addCase(second, 'vae-decode-512', { ...measured, gflops: 100 }, 125);
  expect(second).toMatchObject({ peak_gflops: 250, cases: { 'vae-decode-512': { fraction_of_peak: 0.4 } } });
});

test.each([{ commit: 'abd' }, { machine: 'Some CPU; avx512' }])('nothing is kept of another %j', (other) => {
  const before = { ...begun, cases: { a: { ...measured, fraction_of_peak: 0.5 } }, peak_gflops: 9 };
  expect(resumed(begun, before)).toEqual(before);
  expect(resumed(begun, { ...before, ...other })).toEqual(begun);
});

test('what is kept stays beside one stable-diffusion.cpp', () => {
  const before = { ...begun, cases: { a: { ...measured, fraction_of_peak: 0.5 } }, peak_gflops: 9 };
  const [one, other] = [{ sdcpp: 'master-1: AVX' }, { sdcpp: 'master-2: AVX' }];
  expect(resumed(begun, { ...before, ...one })).toEqual({ ...before, ...one });
  expect(resumed({ ...begun, ...one }, before)).toEqual({ ...before, ...one });
  expect(resumed({ ...begun, ...one }, { ...before, ...one })).toEqual({ ...before, ...one });
  expect(resumed({ ...begun, ...other }, { ...before, ...one })).toEqual({ ...begun, ...other });
});

const LOG = (text: string, sampling: string, decode: string) => `
[INFO ] stable-diffusion.cpp:5296 - get_learned_condition completed, taking ${text}
[INFO ] stable-diffusion.cpp:5711 - sampling completed, taking ${sampling}
[INFO ] stable-diffusion.cpp:5391 - decode_first_stage completed, taking ${decode}
`;

test("stable-diffusion.cpp's times are read from its log", () => {
  expect(timesOf(LOG('0.25s', '12.50s', '31.00s'))).toEqual({ text: 0.25, sampling: 12.5, decode: 31 });
  expect(timesOf(LOG('250 ms', '12500 ms', '31000 ms'))).toEqual({ text: 0.25, sampling: 12.5, decode: 31 });
  expect(() => timesOf('loaded')).toThrow('Expected "get_learned_condition completed');
});

test("stable-diffusion.cpp's build is read from its log, and shown", () => {
  const log = `
[DEBUG] main.cpp:689  - version: stable-diffusion.cpp version master-827-97d2990+, commit 97d29908
[DEBUG] main.cpp:690  - System Info:
   SSE3 = 1 |    AVX2 = 1 |    AVX512 = 0 |    F16C = 1 |
[DEBUG] main.cpp:691  - SDCliParams {
  n_threads: 2,
`;
  const sdcpp = 'master-827-97d2990+: SSE3, AVX2, F16C';
  expect(buildOf(log)).toBe(sdcpp);
  expect(() => buildOf('usage: …')).toThrow('Expected "stable-diffusion.cpp version …"');
  expect(cpuPage([{ ...begun, sdcpp }]).split('\n')).toContain(`stable-diffusion.cpp ${sdcpp}.`);
});

test("a module's time is its part of the runs that it needs, each made once", () => {
  const folders = { sd15: '/sd15', 'sd-turbo': '/turbo', controlNet: '/c.safetensors', hint: '/hint.png' };
  const run = vi.fn(({ steps, guidance, controlNet }) => ({
    text: 0.5,
    sampling: steps * ((guidance === 1 ? 10 : 20) + (controlNet ? 3 : 0)),
    decode: controlNet ? 50 : 40,
  }));
  const parts = new SdcppParts(run, folders);
  expect(parts.seconds('sd15', 'text', 1)).toBe(0.5);
  expect(parts.seconds('sd15', 'unet', 1)).toBe(10);
  expect(parts.seconds('sd15', 'unet', 2)).toBe(20);
  expect(parts.seconds('sd15', 'controlnet', 1)).toBe(3);
  // The median of the three that are known.
  expect(parts.seconds('sd15', 'vae-decode', 1)).toBe(40);
  // The ControlNet's is measured beside one without it.
  expect(run).toHaveBeenCalledTimes(4);
  run.mockReturnValue({ text: 0.5, sampling: 20, decode: 40 });
  expect(new SdcppParts(run, folders).seconds('sd15', 'controlnet', 1)).toBeNaN();
});

test('a request is its texts, steps and decode', () => {
  const seconds = (_: string, module: string, batch: number) =>
    ({ text: 1, unet: 10 * batch, 'vae-decode': 100 })[module] ?? Number.NaN;
  expect(addUp(CASES['sd15-20step'] as RequestCase, seconds)).toBe(2 + 20 * 20 + 100);
  expect(addUp(CASES['sd-turbo-1step'] as RequestCase, seconds)).toBe(1 + 10 + 100);
});

test('a ControlNet has a name of the original code for each tensor, another for each', () => {
  const file = 'test/fixtures/configs/controlnet-sd15.json';
  const sd15 = parseConfig(controlNetConfig, JSON.parse(readFileSync(file, 'utf8')), file);
  const size = { batch: 1, height: 8, width: 8 };
  const graphs = [
    traceControlNet(sd15, { ...size, tokens: 77 }),
    traceControlContext(sd15, { batch: 1, tokens: 77 }),
  ];
  const names = [...new Set([...graphs, traceHint(sd15, size)].flatMap(({ params }) => [...params.keys()]))];
  const originals = originalNames(names);
  expect(new Set(originals.values()).size).toBe(names.length);
  expect(originals.get('down_blocks.1.attentions.1.proj_in.weight')).toBe('input_blocks.5.1.proj_in.weight');
  expect(originals.get('controlnet_cond_embedding.conv_out.bias')).toBe('input_hint_block.14.bias');
  expect(() => originalNames([...names, 'other'])).toThrow('received other');
});
