import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { classifierFreeGuidance, rescaleGuidance } from '../../sidecar/samplers/guidance.ts';
import { resolveSampler, type Sampler } from '../../sidecar/samplers/index.ts';
import { analyticModel, runAnalytic } from '../support/analytic-model.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase } from '../support/fixtures.ts';

const names = readdirSync(new URL('../fixtures/cases/', import.meta.url))
  .filter((file) => file.startsWith('sampler-') && file.endsWith('.json'))
  .map((file) => file.slice(0, -'.json'.length));

function samplerOf(name: string) {
  const { params, tensors } = fixtureCase(name);
  const checkpointConfig = { _class_name: params.scheduler, ...params.config };
  const { create } = resolveSampler({ checkpointConfig, file: name });
  return { params, tensors, create: () => create({ steps: params.steps, eta: params.eta ?? 0 }) };
}

describe('timesteps, sigmas, model inputs and every latent of the reference', () => {
  test('of every kind', () => expect(names.length).toBeGreaterThan(60));

  test.each(names)('%s', (name) => {
    const { params, tensors, create } = samplerOf(name);
    const sampler = create();

    const timesteps = [...tensors['out.timesteps']!.data];
    expect(sampler.timesteps.length).toBe(timesteps.length);
    for (const [i, t] of timesteps.entries()) {
      // Fractional timesteps, and all in the middle of a step, hang on the last bit of logarithms, of which libraries
      // differ.
      if (Number.isInteger(t) && i % sampler.evaluationsPerStep === 0) expect(sampler.timesteps[i]).toBe(t);
      else expect(Math.abs(sampler.timesteps[i]! - t)).toBeLessThan(2e-4);
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

    const { latents, inputs } = runAnalytic(sampler);
    expect(worst(latents, tensors['out.trajectory']!.data)).toBeLessThan(1e-5);
    expect(worst(inputs, tensors['out.model_inputs']!.data)).toBeLessThan(1e-5);
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
  ['sampler-euler-4', 0],
  ['sampler-euler-ancestral-4', 4],
  ['sampler-dpmpp-2m-4', 0],
])('%s draws noise %i times', (name, draws) => {
  expect(runAnalytic(samplerOf(name).create()).draws).toBe(draws);
});

test.each(['sampler-pndm-runge-kutta-13', 'sampler-dpmpp-2m-20', 'sampler-euler-ancestral-20'])(
  '%s: an image comes out the same beside one at another step, and what a step is given it leaves alone',
  (name) => {
    const { create } = samplerOf(name);
    const [ahead, behind] = [create(), create()];
    const initial = new Float32Array(256).map((_, i) => Math.sin(i) * ahead.initNoiseSigma);
    let [x, y]: Float32Array[] = [initial, initial];
    for (let i = 0; i < ahead.timesteps.length + 3; i++) {
      if (i < ahead.timesteps.length) x = carefulStep(ahead, i, x!);
      if (i >= 3) y = carefulStep(behind, i - 3, y!);
    }
    expect(y).toEqual(x);
  },
);

function carefulStep(sampler: Sampler, i: number, latents: Float32Array): Float32Array {
  const output = analyticModel(sampler.scaleInput(latents, i), sampler.timesteps[i]!);
  const before = [latents.slice(), output.slice()];
  const next = sampler.step(output, i, latents, () => new Float32Array(256).fill(0.5));
  expect([latents, output]).toEqual(before);
  return next;
}

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
