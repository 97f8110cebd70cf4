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
  draws: number;
}

/** Runs a sampler over the analytic model as the reference cases do: latents [1,4,8,8] from seed 11, noise from 12. */
export function runAnalytic(sampler: Sampler): Trajectory {
  const start = new TorchGenerator(11).randn(256).map((x) => x * f(sampler.initNoiseSigma));
  const generator = new TorchGenerator(12);
  const run: Trajectory = { latents: [start], inputs: [], draws: 0 };
  const noise = () => {
    run.draws++;
    return generator.randn(256);
  };
  for (const [i, t] of sampler.timesteps.entries()) {
    const latents = run.latents.at(-1)!;
    const input = sampler.scaleInput(latents, i);
    run.inputs.push(input);
    run.latents.push(sampler.step(analyticModel(input, t), i, latents, noise));
  }
  return run;
}
