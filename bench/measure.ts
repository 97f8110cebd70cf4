// One case in a process of its own, so that its peak of memory is its own. Prints a CaseResult as JSON.
//   node dist/bench/measure.js CASE MODEL_DIR '{"device":"cpu","threads":2,"size":512,"batch":2,"runs":5}'
import { planFlops } from '../sidecar/graph/planner.ts';
import { native } from '../sidecar/native.ts';
import { type CaseOptions, cases } from './cases.ts';
import { median } from './statistics.ts';

export interface MeasureOptions extends CaseOptions {
  device: string;
  threads?: number;
  runs: number;
}

export interface CaseResult {
  case: string;
  /** Median of `runs`, after one that is not counted. */
  seconds: number;
  runs: number[];
  /** From opening the device to the end of the first run: weights are converted and packed in it. */
  loadSeconds: number;
  peakRssBytes: number;
  arenaBytes: number;
  gigaflops: number;
  finite: boolean;
  device: string;
  arch: string;
  threads: number;
}

async function measure(name: string, model: string, options: MeasureOptions): Promise<CaseResult> {
  const start = performance.now();
  const device = await native().open({ device: options.device, threads: options.threads });
  const prepared = await cases[name]!(device, model, options);
  const program = await device.compile(prepared.plan, prepared.weights);
  const first = await program.run(prepared.inputs);
  const loadSeconds = (performance.now() - start) / 1000;
  const finite = Object.values(first).every((output) => (output as Float32Array).every(Number.isFinite));
  const runs: number[] = [];
  for (let i = 0; i < options.runs; i++) {
    const began = performance.now();
    const outputs = await program.run(prepared.inputs, { keep: prepared.keep });
    runs.push((performance.now() - began) / 1000);
    for (const output of Object.values(outputs)) if (!ArrayBuffer.isView(output)) output.dispose();
  }
  const { id, arch, threads } = device.info;
  const seconds = median(runs);
  const result = {
    case: prepared.name,
    seconds,
    runs,
    loadSeconds,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    arenaBytes: prepared.plan.arenaBytes,
    gigaflops: planFlops(prepared.plan) / seconds / 1e9,
    finite,
    device: id,
    arch,
    threads,
  };
  await device.dispose();
  return result;
}

const [name, model, options] = process.argv.slice(2);
console.log(JSON.stringify(await measure(name!, model!, JSON.parse(options!) as MeasureOptions)));
