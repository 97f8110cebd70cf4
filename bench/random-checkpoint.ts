import { cp, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseConfig } from '../sidecar/checkpoints/config.ts';
import type { Graph } from '../sidecar/graph/builder.ts';
import { elements } from '../sidecar/graph/signature.ts';
import { clipTextConfig, traceTextEncoder } from '../sidecar/models/clip.ts';
import { traceControlContext, traceControlNet, traceHint } from '../sidecar/models/controlnet.ts';
import { controlNetConfig } from '../sidecar/models/controlnet-config.ts';
import { traceContext, traceUNet } from '../sidecar/models/unet.ts';
import { unetConfig } from '../sidecar/models/unet-config.ts';
import { traceVaeDecode, traceVaeEncode, vaeConfig } from '../sidecar/models/vae.ts';
import { standardVocabulary } from '../sidecar/text/standard-vocabulary.ts';
import { floatToHalf } from '../test/support/safetensors.ts';
import { ROOT } from './root.ts';

/** Models whose shape random weights can have: configs of test/fixtures/configs, and what is in no config. */
export const SHAPES = {
  sd15: {
    name: "Stable Diffusion 1.5's",
    configs: ['unet-sd15', 'vae-sd', 'clip-vit-l'],
    scheduler: { _class_name: 'PNDMScheduler' },
    gigabytes: 2.1,
  },
  'sd-turbo': {
    name: "SD-Turbo's",
    configs: ['unet-sd21', 'vae-sd', 'clip-vit-h'],
    scheduler: { _class_name: 'EulerDiscreteScheduler', timestep_spacing: 'trailing' },
    gigabytes: 2.6,
  },
} as const;

export type Shape = keyof typeof SHAPES;

export function isShape(name: string): name is Shape {
  return name in SHAPES;
}

const scheduler = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  skip_prk_steps: true,
  set_alpha_to_one: false,
  steps_offset: 1,
};

const index = {
  _class_name: 'StableDiffusionPipeline',
  text_encoder: ['transformers', 'CLIPTextModel'],
  tokenizer: ['transformers', 'CLIPTokenizer'],
  unet: ['diffusers', 'UNet2DConditionModel'],
  vae: ['diffusers', 'AutoencoderKL'],
};

/**
 * Writes a diffusers folder with a model's true configuration (Stable Diffusion 1.5: 1,066,235,307 parameters, 2.1 GB
 * in fp16) and random weights of the scale of trained ones: speed and memory are the true model's, pictures are noise.
 * Deterministic; memory stays small. Nothing is done where the folder is complete already.
 */
export async function randomCheckpoint(
  folder: string,
  say: (line: string) => void,
  shape: Shape = 'sd15',
): Promise<void> {
  if (await exists(join(folder, 'model_index.json'))) return;
  const { name, configs, scheduler: own, gigabytes } = SHAPES[shape];
  say(`Writing random weights of ${name} shape to ${folder} (${gigabytes} GB)`);
  // As text: a reader may tell 1.0 from 1.
  const [unet, vae, text] = await Promise.all(
    configs.map((name) => readFile(join(ROOT, `test/fixtures/configs/${name}.json`), 'utf8')),
  );
  const u = parseConfig(unetConfig, JSON.parse(unet!), configs[0]);
  const v = parseConfig(vaeConfig, JSON.parse(vae!), configs[1]);
  const t = parseConfig(clipTextConfig, JSON.parse(text!), configs[2]);
  const image = { batch: 1, height: 64, width: 64 };

  const weights = 'diffusion_pytorch_model.safetensors';
  await writeWeights(
    join(folder, 'unet', weights),
    [traceUNet(u, { ...image, tokens: 77 }), traceContext(u, { batch: 1, tokens: 77 })],
    { seed: 1, isLinear: u.use_linear_projection },
  );
  await writeWeights(join(folder, 'vae', weights), [traceVaeDecode(v, image), traceVaeEncode(v, image)], {
    seed: 2,
  });
  await writeWeights(
    join(folder, 'text_encoder/model.safetensors'),
    [traceTextEncoder(t, { batch: 1, tokens: 77 })],
    // As published, which other programs know them by.
    { seed: 3, prefix: 'text_model.' },
  );
  await cp(join(ROOT, 'models/clip-vocabulary/merges.txt'), join(folder, 'tokenizer/merges.txt'));
  const { vocab } = await standardVocabulary();
  const files = {
    // The published 2.1 is for 768 pixels, SD-Turbo for 512.
    'unet/config.json': unet!.replace('"sample_size": 96', '"sample_size": 64'),
    'vae/config.json': vae!,
    'text_encoder/config.json': text!,
    'tokenizer/vocab.json': JSON.stringify(Object.fromEntries(vocab)),
    'scheduler/scheduler_config.json': JSON.stringify({ ...scheduler, ...own }),
    // Last: its presence says that the folder is whole.
    'model_index.json': JSON.stringify({ ...index, scheduler: ['diffusers', own._class_name] }),
  };
  for (const [name, contents] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), contents);
  }
}

/** The same for a ControlNet of Stable Diffusion 1.5 (0.7 GB in fp16), in the folder `controlnet` of a model's. */
export async function randomControlNet(model: string, say: (line: string) => void): Promise<void> {
  const folder = join(model, 'controlnet');
  if (await exists(join(folder, 'config.json'))) return;
  say(`Writing random weights of a ControlNet to ${folder} (0.7 GB)`);
  const text = await readFile(join(ROOT, 'test/fixtures/configs/controlnet-sd15.json'), 'utf8');
  const config = parseConfig(controlNetConfig, JSON.parse(text), 'controlnet-sd15.json');
  const image = { batch: 1, height: 64, width: 64 };
  await writeWeights(
    join(folder, 'diffusion_pytorch_model.safetensors'),
    [
      traceHint(config, image),
      traceControlContext(config, { batch: 1, tokens: 77 }),
      traceControlNet(config, { ...image, tokens: 77 }),
    ],
    { seed: 4, isLinear: config.use_linear_projection },
  );
  await writeFile(join(folder, 'config.json'), text);
}

/** Matrices that are 1×1 convolutions in a file: zero convolutions, and what transformers begin and end with. */
const ZERO = /^controlnet_(down_blocks\.\d+|mid_block)\.weight$/;
const PROJECTION = /\.proj_(in|out)\.weight$/;

interface Writing {
  seed: number;
  /** Of every name. */
  prefix?: string;
  /** As later architectures have it (`use_linear_projection`): what transformers begin and end with is no convolution. */
  isLinear?: boolean;
}

async function writeWeights(
  file: string,
  graphs: Graph[],
  { seed, prefix = '', isLinear = false }: Writing,
): Promise<void> {
  const params = [...new Map(graphs.flatMap((graph) => [...graph.params]))].sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  let end = 0;
  const header = params.map(([name, shape]): [string, unknown] => {
    const begin = end;
    end += 2 * elements(shape);
    const isPointwise = ZERO.test(name) || (PROJECTION.test(name) && !isLinear);
    const saved = isPointwise && shape.length === 2 ? [...shape, 1, 1] : shape;
    return [prefix + name, { dtype: 'F16', shape: saved, data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const start = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  start.writeBigUInt64LE(BigInt(start.length - 8));
  json.copy(start, 8);

  await mkdir(dirname(file), { recursive: true });
  const handle = await open(`${file}.part`, 'w');
  try {
    await handle.writeFile(start);
    const random = { state: seed };
    for (const [name, shape] of params) {
      const halves = values(name, shape);
      for (let left = elements(shape); left > 0; left -= CHUNK)
        await handle.writeFile(draw(halves, Math.min(left, CHUNK), random));
    }
  } catch (error) {
    await rm(`${file}.part`, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  await rename(`${file}.part`, file);
}

const CHUNK = 1 << 22;
const LEVELS = 4096;

/** The numbers a tensor's elements are drawn from, evenly: fan-in scaled, norms around 1, biases around 0. */
function values(name: string, shape: readonly number[]): Uint16Array {
  const matrix = shape.length >= 2;
  const embedding = /embedding\.weight$/.test(name);
  const norm = !matrix && name.endsWith('.weight');
  const deviation = embedding ? 0.5 : matrix ? 1 / Math.sqrt(elements(shape) / shape[0]!) : norm ? 0.2 : 0.1;
  const level = (i: number) => Math.sqrt(3) * (2 * ((i + 0.5) / LEVELS) - 1);
  return Uint16Array.from({ length: LEVELS }, (_, i) => floatToHalf((norm ? 1 : 0) + deviation * level(i)));
}

/** `count` of the numbers, by a 32-bit linear congruential generator (Numerical Recipes, 7.1). */
function draw(halves: Uint16Array, count: number, random: { state: number }): Uint8Array {
  const drawn = new Uint16Array(count);
  let x = random.state;
  for (let i = 0; i < count; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0;
    drawn[i] = halves[x >>> 20]!;
  }
  random.state = x;
  return new Uint8Array(drawn.buffer);
}

async function exists(file: string): Promise<boolean> {
  return readFile(file).then(
    () => true,
    () => false,
  );
}
