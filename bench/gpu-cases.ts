import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
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
  /** For torch: the module's config and kind. */
  kind: 'unet' | 'controlnet' | 'vae';
  config: string;
  before: Graph[];
  timed: Graph;
}

const unet = (config: string, batch: number, side: number): GpuModule => {
  const c = parseConfig(unetConfig, json(config), config);
  const timeIds = c.addition_embed_type ? 6 : undefined;
  return {
    kind: 'unet',
    config,
    before: [traceContext(c, { batch, tokens: 77, timeIds })],
    timed: traceUNet(c, { batch, height: side, width: side, tokens: 77 }),
  };
};
const vae = (config: string, side: number): GpuModule => ({
  kind: 'vae',
  config,
  before: [],
  timed: traceVaeDecode(parseConfig(vaeConfig, json(config), config), {
    batch: 1,
    height: side,
    width: side,
  }),
});
const controlnet = (config: string, batch: number, side: number): GpuModule => {
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

/** One evaluation of each module that is timed by itself. */
export const gpuModules: Record<string, () => GpuModule> = {
  'sd15-unet-b2': () => unet('unet-sd15', 2, 64),
  'sdturbo-unet-b1': () => unet('unet-sd21', 1, 64),
  'sdxl-unet-b2': () => unet('unet-sdxl', 2, 128),
  'sdxlturbo-unet-b1': () => unet('unet-sdxl-turbo', 1, 64),
  'controlnet-sd15-b2': () => controlnet('controlnet-sd15', 2, 64),
  'vae-decode-512': () => vae('vae-sd', 64),
  'vae-decode-1024': () => vae('vae-sdxl', 128),
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
    ['controlnet-sd15-b2', 20],
    ['sd15-unet-b2', 20],
    ['vae-decode-512', 1],
  ],
};

export const planOf = (graph: Graph): Plan => plan(graph);

function json(name: string): unknown {
  return JSON.parse(readFileSync(join(ROOT, `test/fixtures/configs/${name}.json`), 'utf8'));
}

const FILE = join(ROOT, 'bench/build/random-halves');
const MATRIX = 1 << 26; // elements; no weight of these models has more
const VECTOR = 1 << 15;

/**
 * Random weights for the parameters of graphs: all from one small file, the same numbers for every matrix, as speed
 * does not depend on them. Vectors (biases, norms) are near 1 where they scale and near 0 where they shift.
 */
export function randomWeights(graphs: Graph[]): WeightSource[] {
  if (!existsSync(FILE)) writeFile();
  const params = new Map(graphs.flatMap((graph) => [...graph.params]));
  return [...params].map(([name, shape]) => {
    const vector = shape.length === 1;
    const norm = vector && name.endsWith('.weight');
    const offset = vector ? 2 * (MATRIX + (norm ? 0 : VECTOR)) : 0;
    if (elements(shape) > (vector ? VECTOR : MATRIX))
      throw new Error(`Expected at most ${MATRIX} elements for ${name} but received [${shape.join(', ')}]`);
    return { name, dtype: 'F16', shape: [...shape], file: FILE, offset };
  });
}

/** Matrices: uniform, deviation 0.02; scales around 1; shifts around 0. */
function writeFile(): void {
  mkdirSync(dirname(FILE), { recursive: true });
  const file = openSync(FILE, 'w');
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
  fill(MATRIX, (u) => 0.02 * Math.sqrt(3) * u);
  fill(VECTOR, (u) => 1 + 0.2 * u);
  fill(VECTOR, (u) => 0.1 * u);
  closeSync(file);
}
