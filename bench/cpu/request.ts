// A whole request, from prompt to PNG, in a process of its own. Prints a RequestResult as JSON.
//   node dist/bench/cpu/request.js MODEL_DIR '{"threads":2,"size":512,"steps":20,"guidance":7.5,"runs":1}'
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { planFlops } from '../../sidecar/graph/planner.ts';
import { watchPrograms } from '../stages.ts';

export interface RequestOptions {
  threads: number;
  size: number;
  steps: number;
  guidance: number;
  runs: number;
}

export interface RequestResult {
  runs: number[];
  /** Operations of one. */
  flops: number;
  peakRssBytes: number;
}

const [model, options] = process.argv.slice(2);
const { threads, size, steps, guidance, runs } = JSON.parse(options!) as RequestOptions;
let flops = 0;
watchPrograms((what, plan) => {
  if (what === 'run') flops += planFlops(plan);
});
const engine = await Engine.open({ folders: await modelFolders([model!]), threads });
// A text of its own each time: what has been encoded is remembered.
const request = (turn: number) => ({
  prompt: `a lighthouse at dusk, number ${turn}`,
  negativePrompt: guidance === 1 ? '' : `blurry, number ${turn}`,
  seeds: [turn],
  ...{ steps, guidanceScale: guidance, width: size, height: size },
});
await engine.generate({ ...request(0), steps: 1 }); // loads and packs
const result: RequestResult = { runs: [], flops: 0, peakRssBytes: 0 };
for (let turn = 1; turn <= runs; turn++) {
  flops = 0;
  const began = performance.now();
  await engine.generate(request(turn));
  result.runs.push((performance.now() - began) / 1000);
  result.flops = flops;
}
result.peakRssBytes = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify(result));
await engine.dispose();
