import { planFlops } from '../sidecar/graph/planner.ts';
import {
  type InputValue,
  type NativeDevice,
  type NativeProgram,
  type NativeTensor,
  native,
  type Precision,
  type Providers,
} from '../sidecar/native.ts';
import { TorchGenerator } from '../sidecar/random/torch.ts';
import { relativeL2 } from '../test/support/compare.ts';
import { type GpuModule, planOf, randomWeights } from './gpu-cases.ts';
import { median } from './statistics.ts';

export interface MeasureOptions {
  device: string;
  dtype: Precision;
  runs: number;
  /** Runs before, that are not counted; default: 3. */
  warm?: number;
  /** Milliseconds that these take at least; default: 0. */
  settle?: number;
}

/** Milliseconds; null where it was not measured. */
export interface GpuCase {
  ours_ms: number;
  /** The same with cuBLASLt and cuDNN wherever they can; null where neither is there. */
  vendor_ms: number | null;
  torch_eager_ms: number | null;
  torch_compile_ms: number | null;
  /** What the floating-point operations alone take at 790 TFLOP/s, an H200's measured rate. */
  t0_ms: number;
  /** Relative L2 error against the same module in float32 on the same device. Null for pipelines. */
  relative_error: number | null;
}

const RATE = 790e12;

interface Ready {
  program: NativeProgram;
  inputs: Record<string, InputValue>;
  output: string;
  /** Outputs that stay on the device: a ControlNet's residuals, but the first. */
  keep: string[];
}

/** A module on a device, its inputs made: those that other plans compute are left there. */
async function prepare(device: NativeDevice, { before, timed }: GpuModule, dtype: Precision): Promise<Ready> {
  const weights = await device.loadWeights(randomWeights([...before, timed]));
  const plan = planOf(timed);
  const inputs: Record<string, InputValue> = {};
  const known = new Set(plan.inputs.map(({ name }) => name));
  for (const graph of before) {
    const earlier = planOf(graph);
    const program = await device.compile(earlier, weights, { dtype });
    const given = earlier.inputs.map(({ name, shape }) => [name, valuesOf(name, shape)]);
    const keep = earlier.outputs.map(({ name }) => name);
    const outputs = await program.run(Object.fromEntries(given), { keep });
    await program.dispose();
    // Those of a ControlNet beside a U-Net have its prefix there.
    const isControl = graph.name !== 'context';
    for (const [name, tensor] of Object.entries(outputs)) {
      const at = isControl && known.has(`control.0.${name}`) ? `control.0.${name}` : name;
      if (known.has(at)) inputs[at] = tensor;
      else (tensor as NativeTensor).dispose();
    }
  }
  for (const { name, shape } of plan.inputs) inputs[name] ??= valuesOf(name, shape);
  const [output, ...others] = plan.outputs.map(({ name }) => name);
  return { program: await device.compile(plan, weights, { dtype }), inputs, output: output!, keep: others };
}

function valuesOf(name: string, shape: number[]): Float32Array {
  const n = shape.reduce((a, b) => a * b, 1);
  if (name === 'timestep') return new Float32Array(n).fill(501);
  if (name === 'time_ids') return new Float32Array(n).fill(1024);
  if (name.endsWith('scales')) return new Float32Array(n).fill(1);
  return new TorchGenerator(0).randn(n);
}

/** The times of some runs after some that are not counted, and what the last one gave. */
async function times({ program, inputs, output, keep }: Ready, options: MeasureOptions) {
  const each: number[] = [];
  let last = new Float32Array();
  const once = async () => {
    const began = performance.now();
    const outputs = await program.run(inputs, { keep });
    last = outputs[output] as Float32Array<ArrayBuffer>;
    each.push(performance.now() - began);
    for (const name of keep) (outputs[name] as NativeTensor).dispose();
  };
  await warmUp(once, options);
  each.length = 0;
  while (each.length < options.runs) await once();
  return { ms: median(each), last };
}

/** The first run checks each op, the second captures a graph; of a decode the next ones too have been seen to be slower. */
async function warmUp(once: () => Promise<void>, { warm = 3, settle = 0 }: MeasureOptions) {
  const began = performance.now();
  for (let i = 0; i < warm || performance.now() - began < settle; i++) await once();
}

async function on<T>(
  { device: id, dtype }: MeasureOptions,
  providers: Providers,
  use: (device: NativeDevice) => Promise<T>,
): Promise<T> {
  const device = await native().open({ device: id, dtype, providers });
  try {
    return await use(device);
  } finally {
    await device.dispose();
  }
}

/** One evaluation, inputs from and outputs to JavaScript: by our kernels, and with the vendors' libraries. */
export async function measureModule(module: GpuModule, options: MeasureOptions): Promise<GpuCase> {
  const { ms, last, expected } = await on(options, 'hand', async (device) => {
    const ready = await prepare(device, module, options.dtype);
    const measured = await times(ready, options);
    await ready.program.dispose();
    const exact = await prepare(device, module, 'f32');
    return { ...measured, expected: (await exact.program.run(exact.inputs))[exact.output] as Float32Array };
  });
  const vendor = await on(options, 'vendor', async (device) => {
    const ready = await prepare(device, module, options.dtype);
    const used = Object.values(await device.choices()).some((name) => name !== 'hand');
    return used ? (await times(ready, options)).ms : null;
  }).catch((error: Error) => {
    console.error(`with the vendors' libraries: ${error.message}`);
    return null;
  });
  const error = relativeL2(last, expected);
  return {
    ours_ms: ms,
    vendor_ms: vendor,
    torch_eager_ms: null,
    torch_compile_ms: null,
    t0_ms: t0(module),
    relative_error: Number.isFinite(error) ? error : null,
  };
}

/** Milliseconds of one evaluation by our kernels. */
export async function measureOurs(module: GpuModule, options: MeasureOptions): Promise<number> {
  return on(
    options,
    'hand',
    async (device) => (await times(await prepare(device, module, options.dtype), options)).ms,
  );
}

/** How a pipeline is timed: in fewer runs, as one may take seconds, after as many: a graph is captured in the second. */
export function pipelineRuns({ runs, warm = 3 }: Pick<MeasureOptions, 'runs' | 'warm'>) {
  return { runs: Math.min(runs, Math.max(5, Math.ceil(runs / 4))), before: warm };
}

/** Evaluations one after another, as a picture needs them. Text encoding and PNG are not in it. */
export async function measurePipeline(
  parts: [module: GpuModule, times: number][],
  options: MeasureOptions,
): Promise<{ ours_ms: number; t0_ms: number }> {
  const ms = await on(options, 'hand', async (device) => {
    const ready: [Ready, number][] = [];
    for (const [module, count] of parts) ready.push([await prepare(device, module, options.dtype), count]);
    const each: number[] = [];
    const once = async () => {
      const began = performance.now();
      for (const [{ program, inputs }, count] of ready)
        for (let j = 0; j < count; j++) await program.run(inputs);
      each.push(performance.now() - began);
    };
    await warmUp(once, options);
    each.length = 0;
    while (each.length < pipelineRuns(options).runs) await once();
    return median(each);
  });
  return { ours_ms: ms, t0_ms: parts.reduce((sum, [module, count]) => sum + count * t0(module), 0) };
}

function t0({ timed }: GpuModule): number {
  return (planFlops(planOf(timed)) / RATE) * 1000;
}
