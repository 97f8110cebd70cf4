import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseConfig } from '../sidecar/checkpoints/config.ts';
import type { Graph } from '../sidecar/graph/builder.ts';
import type { Plan } from '../sidecar/graph/plan.ts';
import { plan } from '../sidecar/graph/planner.ts';
import { elements } from '../sidecar/graph/signature.ts';
import { traceControlContext, traceControlNet, traceHint } from '../sidecar/models/controlnet.ts';
import { controlNetConfig } from '../sidecar/models/controlnet-config.ts';
import { traceContext, traceUNet } from '../sidecar/models/unet.ts';
import { unetConfig } from '../sidecar/models/unet-config.ts';
import { traceVaeDecode, vaeConfig } from '../sidecar/models/vae.ts';
import type { WeightSource } from '../sidecar/native.ts';
import { floatToHalf } from '../test/support/safetensors.ts';
import { ROOT } from './root.ts';

/** A module at the size it is timed at: plans whose outputs are inputs of the last, the one that is timed. */
export interface GpuModule {
  /** For torch, which has the modules that are timed by themselves: kind, and file of the config. */
  kind: 'unet' | 'controlnet' | 'vae' | 'controlled';
  config: string;
  before: Graph[];
  timed: Graph;
}

/** A U-Net's evaluation; `config` is a file. */
export const unet = (config: string, batch: number, side: number): GpuModule => {
  const c = parseConfig(unetConfig, json(config), config);
  const timeIds = c.addition_embed_type ? 6 : undefined;
  return {
    kind: 'unet',
    config,
    before: [traceContext(c, { batch, tokens: 77, timeIds })],
    timed: traceUNet(c, { batch, height: side, width: side, tokens: 77 }),
  };
};
/** An autoencoder's decoding of one picture. */
export const vae = (config: string, side: number): GpuModule => ({
  kind: 'vae',
  config,
  before: [],
  timed: traceVaeDecode(parseConfig(vaeConfig, json(config), config), {
    batch: 1,
    height: side,
    width: side,
  }),
});
/** A ControlNet's evaluation, its residuals as outputs. */
export const controlnet = (config: string, batch: number, side: number): GpuModule => {
  const c = parseConfig(controlNetConfig, json(config), config);
  return {
    kind: 'controlnet',
    config,
    before: [
      traceHint(c, { batch, height: 8 * side, width: 8 * side }),
      traceControlContext(c, { batch, tokens: 77 }),
    ],
    timed: traceControlNet(c, { batch, height: side, width: side, tokens: 77 }),
  };
};

/** A U-Net and a ControlNet in one plan, as a request runs them: residuals stay on the device. */
export const controlled = (config: string, control: string, batch: number, side: number): GpuModule => {
  const c = parseConfig(unetConfig, json(config), config);
  const n = parseConfig(controlNetConfig, json(control), control);
  return {
    kind: 'controlled',
    config,
    before: [
      traceContext(c, { batch, tokens: 77 }),
      traceHint(n, { batch, height: 8 * side, width: 8 * side }),
      traceControlContext(n, { batch, tokens: 77 }),
    ],
    timed: traceUNet(c, { batch, height: side, width: side, tokens: 77 }, [n]),
  };
};

/** One evaluation of each module that is timed by itself. */
export const gpuModules: Record<string, () => GpuModule> = {
  'sd15-unet-b2': () => unet(file('unet-sd15'), 2, 64),
  'sdturbo-unet-b1': () => unet(file('unet-sd21'), 1, 64),
  'sdxl-unet-b2': () => unet(file('unet-sdxl'), 2, 128),
  'sdxlturbo-unet-b1': () => unet(file('unet-sdxl-turbo'), 1, 64),
  'controlnet-sd15-b2': () => controlnet(file('controlnet-sd15'), 2, 64),
  'vae-decode-512': () => vae(file('vae-sd'), 64),
  'vae-decode-1024': () => vae(file('vae-sdxl'), 128),
};

/** What pipelines have beside them. */
export const gpuParts: Record<string, () => GpuModule> = {
  'sd15-unet-control-b2': () => controlled(file('unet-sd15'), file('controlnet-sd15'), 2, 64),
};

/** A U-Net's evaluation by its rows: what one step of so many requests takes together. */
export const gpuBatches: Record<string, { sizes: number[]; of: (batch: number) => GpuModule }> = {
  'sd15-unet': { sizes: [1, 2, 4, 8, 16], of: (batch) => unet(file('unet-sd15'), batch, 64) },
  'sdturbo-unet': { sizes: [1, 2, 4, 8], of: (batch) => unet(file('unet-sd21'), batch, 64) },
};

/** Whole pictures: so many evaluations of each module, one after another. Text encoding and PNG are not in them. */
export const gpuPipelines: Record<string, [module: string, times: number][]> = {
  'sd15-20step': [
    ['sd15-unet-b2', 20],
    ['vae-decode-512', 1],
  ],
  'sdxl-30step': [
    ['sdxl-unet-b2', 30],
    ['vae-decode-1024', 1],
  ],
  'sdxl-turbo-1step': [
    ['sdxlturbo-unet-b1', 1],
    ['vae-decode-512', 1],
  ],
  'sd-turbo-1step': [
    ['sdturbo-unet-b1', 1],
    ['vae-decode-512', 1],
  ],
  'controlnet-sd15-20step': [
    ['sd15-unet-control-b2', 20],
    ['vae-decode-512', 1],
  ],
};

export const planOf = (graph: Graph): Plan => plan(graph);

function file(name: string): string {
  return join(ROOT, `test/fixtures/configs/${name}.json`);
}

function json(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

const VECTOR = 1 << 15; // elements; no bias or norm of these models has more

/**
 * Random weights for the parameters of graphs: all from one small file, the same numbers for every matrix, as speed
 * does not depend on them. Vectors (biases, norms) are near 1 where they scale and near 0 where they shift.
 */
export function randomWeights(graphs: Graph[]): WeightSource[] {
  const params = new Map(graphs.flatMap((graph) => [...graph.params]));
  const matrix = 2 ** Math.ceil(Math.log2(Math.max(...[...params.values()].map(elements))));
  const file = join(ROOT, `bench/build/random-halves-${matrix}`);
  if (!existsSync(file)) writeHalves(file, matrix);
  return [...params].map(([name, shape]) => {
    const vector = shape.length === 1;
    const norm = vector && name.endsWith('.weight');
    const offset = vector ? 2 * (matrix + (norm ? 0 : VECTOR)) : 0;
    if (vector && elements(shape) > VECTOR)
      throw new Error(`Expected at most ${VECTOR} elements for ${name} but received [${shape.join(', ')}]`);
    return { name, dtype: 'F16', shape: [...shape], file, offset };
  });
}

/** Matrices: uniform, deviation 0.02; scales around 1; shifts around 0. */
function writeHalves(path: string, matrix: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.${process.pid}`;
  const file = openSync(part, 'w');
  const random = { state: 1 };
  const fill = (count: number, at: (u: number) => number) => {
    const chunk = new Uint16Array(Math.min(count, 1 << 20));
    const halves = Uint16Array.from({ length: 4096 }, (_, i) => floatToHalf(at((i + 0.5) / 2048 - 1)));
    for (let done = 0; done < count; done += chunk.length) {
      for (let i = 0; i < chunk.length; i++) {
        random.state = (Math.imul(random.state, 1_664_525) + 1_013_904_223) | 0;
        chunk[i] = halves[random.state >>> 20]!;
      }
      writeSync(file, new Uint8Array(chunk.buffer));
    }
  };
  fill(matrix, (u) => 0.02 * Math.sqrt(3) * u);
  fill(VECTOR, (u) => 1 + 0.2 * u);
  fill(VECTOR, (u) => 0.1 * u);
  closeSync(file);
  renameSync(part, path);
}
