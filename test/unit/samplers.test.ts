import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { betaQuantile } from '../../sidecar/samplers/beta-quantile.ts';
import { classifierFreeGuidance, rescaleGuidance } from '../../sidecar/samplers/guidance.ts';
import { firstEvaluation, resolveSampler, type Sampler, samplers } from '../../sidecar/samplers/index.ts';
import { schedules } from '../../sidecar/samplers/table.ts';
import { analyticModel, runAnalytic } from '../support/analytic-model.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase } from '../support/fixtures.ts';

const names = readdirSync(new URL('../fixtures/cases/', import.meta.url))
  .filter((file) => file.startsWith('sampler-') && file.endsWith('.json'))
  .map((file) => file.slice(0, -'.json'.length));

function samplerOf(name: string) {
  const { params, tensors } = fixtureCase(name);
  const { schedule, pipeline, steps } = params;
  const checkpointConfig = { _class_name: params.scheduler, ...params.config };
  const { create } = resolveSampler({ checkpointConfig, schedule, pipeline, file: name });
  return { params, tensors, create: () => create({ steps, eta: params.eta ?? 0 }) };
}

describe('timesteps, sigmas, model inputs and every latent of the reference', () => {
  test('of every kind', () => expect(names.length).toBeGreaterThan(200));

  test.each(names)('%s', (name) => {
    const { params, tensors, create } = samplerOf(name);
    const sampler = create();
    const isMidway = params.strength !== undefined;
    const first = isMidway ? firstEvaluation(sampler, params.steps, params.strength) : 0;
    expect(first).toBe(params.first ?? 0);

    const timesteps = [...tensors['out.timesteps']!.data];
    expect(sampler.timesteps.length).toBe(first + timesteps.length);
    for (const [i, t] of timesteps.entries()) {
      const actual = sampler.timesteps[first + i]!;
      // Fractional timesteps, and all in the middle of a step, hang on the last bit of logarithms, of which libraries
      // differ.
      if (Number.isInteger(t) && i % sampler.evaluationsPerStep === 0) expect(actual).toBe(t);
      else expect(Math.abs(actual - t)).toBeLessThan(2e-4);
    }
    if (sampler.sigmas) {
      // The reference repeats those of steps with two evaluations.
      const all = tensors['out.sigmas']!.data;
      const places = sampler.sigmas.map((_, step) =>
        Math.min(step * sampler.evaluationsPerStep, all.length - 1),
      );
      const sigmas = places.map((place) => all[place]!);
      expect(relativeL2(sampler.sigmas, sigmas)).toBeLessThan(1e-6);
    }
    expect(Math.abs(sampler.initNoiseSigma / params.init_noise_sigma - 1)).toBeLessThan(1e-6);

    const { latents, inputs, noised } = runAnalytic(sampler, isMidway ? first : undefined);
    expect(worst(latents, tensors['out.trajectory']!.data)).toBeLessThan(1e-5);
    expect(worst(inputs, tensors['out.model_inputs']!.data)).toBeLessThan(1e-5);
    if (isMidway) expect(worst(noised, tensors['out.noised']!.data)).toBeLessThan(1e-6);
  });

  function worst(actual: Float32Array[], expected: ArrayLike<number>): number {
    const size = actual[0]!.length;
    expect(actual.length * size).toBe(expected.length);
    const all = Float32Array.from(expected);
    return Math.max(...actual.map((x, i) => relativeL2(x, all.subarray(i * size, (i + 1) * size))));
  }
});

test.each([
  ['sampler-ddim-4', 0],
  ['sampler-ddim-eta-7', 7],
  ['sampler-pndm-4', 0],
  ['sampler-ddpm-4', 3],
  ['sampler-ddpm-30', 30],
  ['sampler-lms-4', 0],
  ['sampler-euler-4', 0],
  ['sampler-euler-ancestral-4', 4],
  ['sampler-heun-4', 0],
  ['sampler-kdpm2-4', 0],
  ['sampler-kdpm2-ancestral-4', 3],
  ['sampler-dpmpp-2m-4', 0],
  ['sampler-dpmpp-2m-sde-karras-4', 4],
  ['sampler-dpmpp-2s-4', 0],
  ['sampler-dpmpp-sde-singlestep-karras-13', 13],
  ['sampler-deis-4', 0],
  ['sampler-unipc-4', 0],
  ['sampler-lcm-4', 3],
  ['sampler-tcd-4', 3],
])('%s draws noise %i times', (name, draws) => {
  expect(runAnalytic(samplerOf(name).create()).draws).toBe(draws);
});

// Every sampler, through the table; the checkpoint is Stable Diffusion 1.5's.
const checkpointConfig = {
  _class_name: 'PNDMScheduler',
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  skip_prk_steps: true,
  steps_offset: 1,
};

test.each(samplers.map((row) => [row.name, row] as const))(
  '%s draws noise when the table says so',
  (name, { drawsNoise }) => {
    const draws = (eta: number) =>
      runAnalytic(resolveSampler({ name, checkpointConfig, file: '' }).create({ steps: 6, eta })).draws;
    expect([draws(0) > 0, draws(0.5) > 0]).toEqual([drawsNoise === true, drawsNoise !== false]);
  },
);

test.each(samplers.map((row) => [row.name, row] as const))(
  '%s: an image comes out the same beside one at another step, and what a step is given it leaves alone',
  (name, { takesSchedule }) => {
    const schedule = takesSchedule ? 'karras' : undefined;
    const { create } = resolveSampler({ name, schedule, checkpointConfig, file: '' });
    const [ahead, behind] = [create({ steps: 7, eta: 0.4 }), create({ steps: 7, eta: 0.4 })];
    const initial = new Float32Array(256).map((_, i) => Math.sin(i) * ahead.initNoiseSigma);
    let [x, y]: Float32Array[] = [initial, initial];
    for (let i = 0; i < ahead.timesteps.length + 3; i++) {
      if (i < ahead.timesteps.length) x = carefulStep(ahead, i, x!);
      if (i >= 3) y = carefulStep(behind, i - 3, y!);
    }
    expect(y).toEqual(x);
    expect(x!.every(Number.isFinite)).toBe(true);
  },
);

function carefulStep(sampler: Sampler, i: number, latents: Float32Array): Float32Array {
  const output = analyticModel(sampler.scaleInput(latents, i), sampler.timesteps[i]!);
  const before = [latents.slice(), output.slice()];
  const next = sampler.step(output, i, latents, () => new Float32Array(256).fill(0.5));
  expect([latents, output]).toEqual(before);
  return next;
}

test.each([
  [50, 0.8, 1, 10],
  [50, 0.29, 1, 36],
  [10, 1, 1, 0],
  [10, 0.5, 2, 10],
  [10, 0.05, 1, 9],
  [1, 0, 1, 0],
  [4, 0, 2, 6],
])(
  '%i steps at strength %d, %i evaluations each, begin at %i',
  (steps, strength, evaluationsPerStep, first) => {
    expect(firstEvaluation({ evaluationsPerStep }, steps, strength)).toBe(first);
  },
);

const schedulable = samplers.filter((row) => row.takesSchedule).map((row) => row.name);

test.each(Object.keys(schedules).flatMap((schedule) => schedulable.map((name) => [name, schedule] as const)))(
  '%s with %s sigmas comes to an end',
  (name, schedule) => {
    const { create } = resolveSampler({ name, schedule, checkpointConfig, file: '' });
    for (const steps of [2, 3, 10, 30]) {
      const sampler = create({ steps });
      const last = sampler.sigmas!.at(-1)!;
      expect(sampler.sigmas!.length).toBe(steps + 1);
      expect(last).toBeLessThan(0.03);
      expect(sampler.sigmas!.every((sigma, i) => i === 0 || sigma <= sampler.sigmas![i - 1]!)).toBe(true);
      const { latents } = runAnalytic(sampler);
      expect(latents.at(-1)!.every(Number.isFinite)).toBe(true);
    }
  },
);

test('quantiles of beta distributions', () => {
  const file = new URL('../fixtures/cases/beta-quantiles.json', import.meta.url);
  const quantiles = JSON.parse(readFileSync(file, 'utf8')) as {
    p: number;
    a: number;
    b: number;
    x: number;
  }[];
  expect(quantiles.length).toBeGreaterThan(50);
  for (const { p, a, b, x } of quantiles) expect(Math.abs(betaQuantile(p, a, b) - x)).toBeLessThan(1e-12);
});

describe('guidance', () => {
  const { params, tensors } = fixtureCase('guidance');
  const image = (name: string, i: number) =>
    (tensors[name]!.data as Float32Array).subarray(i * 120, (i + 1) * 120);

  test.each([0, 1])('of image %i as the reference has it', (i) => {
    const conditional = image('in.cond', i);
    const guided = classifierFreeGuidance(image('in.uncond', i), conditional, params.scale);
    expect(relativeL2(guided, image('out.guided', i))).toBeLessThan(1e-7);
    const rescaled = rescaleGuidance(guided, conditional, params.rescale);
    expect(relativeL2(rescaled, image('out.rescaled', i))).toBeLessThan(1e-6);
    expect(rescaleGuidance(guided, conditional, 0)).toEqual(guided);
  });
});
