import { expect, test } from 'vitest';
import { gpuModules, planOf } from '../../bench/gpu-cases.ts';
import { planFlops } from '../../sidecar/graph/planner.ts';

// The floor that the benchmark compares with: floating-point operations of one evaluation at the published configs, with
// what is computed once for a prompt.

test.each([
  ['sd15-unet-b2', 1606],
  ['sdturbo-unet-b1', 804],
  ['sdxl-unet-b2', 13522],
  ['sdxlturbo-unet-b1', 1589],
  ['controlnet-sd15-b2', 567],
  ['vae-decode-512', 2514],
  ['vae-decode-1024', 10470],
])('%s takes %i GFLOP', (name, gigaflops) => {
  const { before, timed } = gpuModules[name]!();
  const counted = [...before, timed].reduce((sum, graph) => sum + planFlops(planOf(graph)), 0) / 1e9;
  expect(Math.abs(counted / gigaflops - 1)).toBeLessThan(0.03);
});
