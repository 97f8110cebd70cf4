import { join } from 'node:path';
import { expect, test } from 'vitest';
import { controlled, controlnet, unet, vae } from '../../bench/gpu-cases.ts';
import type { GpuCase } from '../../bench/gpu-measure.ts';
import { type Batches, runTable } from '../../bench/gpu-run.ts';
import { fixtureModel } from '../support/fixtures.ts';

// The benchmark's way through tiny modules: figures of an emulator mean nothing, but that they are there.

test('every module and pipeline is measured, and kept after each', async () => {
  const model = await fixtureModel('tiny-sd15');
  const control = join(await fixtureModel('tiny-controlnet-sd15-canny'), 'config.json');
  const [unetFile, vaeFile] = ['unet', 'vae'].map((part) => join(model, part, 'config.json')) as [
    string,
    string,
  ];
  const table = {
    modules: {
      'sd15-unet-b2': () => unet(unetFile, 1, 8),
      'controlnet-sd15-b2': () => controlnet(control, 1, 8),
      'vae-decode-512': () => vae(vaeFile, 4),
    },
    parts: { 'sd15-unet-control-b2': () => controlled(unetFile, control, 1, 8) },
    pipelines: {
      'sd15-20step': [
        ['sd15-unet-b2', 1],
        ['vae-decode-512', 1],
      ],
      'controlnet-sd15-20step': [
        ['sd15-unet-control-b2', 1],
        ['vae-decode-512', 1],
      ],
    } as Record<string, [string, number][]>,
    batches: { unet: { sizes: [1, 2], of: (batch: number) => unet(unetFile, batch, 8) } },
  };
  const batches: Batches = {};
  const cases: Record<string, GpuCase> = {};
  const saved: number[] = [];
  const names = Object.keys(table.modules);
  const options = { device: 'emulator', dtype: 'f16', runs: 1, warm: 0, names, torchSeconds: 1 } as const;
  await runTable(table, { ...options, names }, cases, () => saved.push(Object.keys(cases).length), batches);
  expect(saved).toEqual([1, 2, 3, 4, 5, 5, 5]);
  expect(Object.keys(batches.unet!)).toEqual(['1', '2']);
  for (const name of names) {
    expect(cases[name]!.ours_ms, name).toBeGreaterThan(0);
    expect(cases[name]!.vendor_ms, name).toBeGreaterThan(0);
    expect(cases[name]!.relative_error, name).toBeLessThan(0.02);
  }
  const [module, decode, pipeline] = [names[0]!, names[2]!, 'sd15-20step'].map((name) => cases[name]!);
  expect(pipeline!.vendor_ms).toBeCloseTo(module!.vendor_ms! + decode!.vendor_ms!, 9);
  expect(pipeline!.t0_ms).toBeCloseTo(module!.t0_ms + decode!.t0_ms, 12);
  expect(pipeline!.torch_eager_ms).toBeNull();
  expect(cases['controlnet-sd15-20step']!.vendor_ms).toBeNull();
  // What is there is not measured again; what torch did not give stays open.
  const before = structuredClone(cases);
  await runTable(table, { ...options, names, python: '/no-such-python' }, cases, () => {});
  expect(cases).toEqual(before);
});
