import { TorchGenerator } from '../../sidecar/random/torch.ts';
import type { Sampler } from '../../sidecar/samplers/index.ts';

const f = Math.fround;

/** Stands in for a U-Net in the sampler cases: tanh(0.7 x)·0.8 + 0.05 sin(t/100), smooth in x and t, bounded. */
export function analyticModel(input: Float32Array, timestep: number): Float32Array {
  const shift = f(f(0.05) * f(Math.sin(f(timestep / 100))));
  return input.map((x) => f(f(Math.tanh(f(x * f(0.7)))) * f(0.8)) + shift);
}

/** What one run did: the latents before the first and after every step, the model's inputs, the draws of noise. */
export interface Trajectory {
  latents: Float32Array[];
  inputs: Float32Array[];
  /** What `addNoise` makes of the latents of seed 13, for every evaluation. */
  noised: Float32Array[];
  draws: number;
}

/**
 * Runs a sampler over the analytic model as the reference cases do: latents [1,4,8,8] from seed 11, noise from 12.
 * @param first where to begin, midway with latents of seed 13 under that noise.
 */
export function runAnalytic(sampler: Sampler, first?: number): Trajectory {
  const [noise, original] = [11, 13].map((seed) => new TorchGenerator(seed).randn(256)) as [
    Float32Array,
    Float32Array,
  ];
  const generator = new TorchGenerator(12);
  const start =
    first === undefined
      ? noise.map((x) => x * f(sampler.initNoiseSigma))
      : sampler.addNoise(original, noise, first);
  const run: Trajectory = { latents: [start], inputs: [], noised: [], draws: 0 };
  const draw = () => {
    run.draws++;
    return generator.randn(256);
  };
  for (let i = first ?? 0; i < sampler.timesteps.length; i++) {
    const latents = run.latents.at(-1)!;
    const input = sampler.scaleInput(latents, i);
    run.inputs.push(input);
    run.latents.push(sampler.step(analyticModel(input, sampler.timesteps[i]!), i, latents, draw));
    run.noised.push(sampler.addNoise(original, noise, i));
  }
  return run;
}
