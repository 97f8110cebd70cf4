import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig } from '../../sidecar/checkpoints/config.ts';
import { readJson } from '../../sidecar/checkpoints/json.ts';
import { readSafetensors, readTensors } from '../../sidecar/checkpoints/safetensors.ts';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import type { Picture } from '../../sidecar/engine/picture.ts';
import { Programs, programPool } from '../../sidecar/engine/programs.ts';
import { TextEncoder } from '../../sidecar/engine/text-encoder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { clipProjectionConfig, pooledPositions, pooledRows } from '../../sidecar/models/clip.ts';
import type { NativeDevice, WeightSource } from '../../sidecar/native.ts';
import { standardTokenizer } from '../../sidecar/text/standard-vocabulary.ts';
import { classifierConfig, traceClassifier } from './classifier.ts';
import { clipVisionConfig, traceClipVision, visionIds, visionTokens } from './clip-vision.ts';

/** A network that looks at pictures, and where it can, reads prompts: what Fréchet distances and scores go by. */
export interface FeatureNetwork {
  name: string;
  /** A picture's features, [D], and its embedding beside the texts', of length 1. */
  look(picture: Picture): Promise<{ features: Float32Array; embedding: Float32Array }>;
  /** A text's embedding, of length 1; undefined where the network has none. */
  read: ((text: string) => Promise<Float32Array>) | undefined;
  dispose(): Promise<void>;
}

/**
 * Opens a folder with config.json and model.safetensors: a CLIP model of transformers (whole, or its vision half with
 * the projection), or a classifier as models/training makes it.
 * @param base the model whose text encoder a classifier's texts go through.
 */
export async function openFeatures(
  device: NativeDevice,
  dir: string,
  base?: { name: string; dir: string },
): Promise<FeatureNetwork> {
  const file = join(dir, 'model.safetensors');
  if (!(await stat(file).catch(() => undefined)))
    throw new Error(
      `Expected a feature network in ${dir}, with config.json and model.safetensors, but found none`,
    );
  const json = (await readJson(join(dir, 'config.json'))) as Record<string, unknown>;
  if ('layers' in json) return openClassifier(device, { dir, file, json }, base);
  if (json.model_type === 'clip' || json.model_type === 'clip_vision_model')
    return openClip(device, { dir, file, json });
  throw new Error(`Expected CLIP, or a classifier with layers, but received ${json.model_type}, in ${dir}`);
}

interface Files {
  dir: string;
  file: string;
  json: Record<string, unknown>;
}

async function openClassifier(
  device: NativeDevice,
  { dir, file, json }: Files,
  base: { name: string; dir: string } | undefined,
): Promise<FeatureNetwork> {
  const config = parseConfig(classifierConfig, json, join(dir, 'config.json'));
  const { width, height, range } = config.input;
  const graph = traceClassifier(config, 1);
  const programs = await load(device, dir, await sourcesOf(file, [...graph.params.keys()]));
  const projections = [config.image_projection, config.text_projection].map(
    (each) => `${each.linear}.weight`,
  );
  const matrices = await readTensors(file, (name) => projections.includes(name));
  const [toImage, toText] = projections.map((name) => matrices.get(name)!.data as Float32Array);
  const text = base && (await openText(device, base));
  return {
    name: 'classifier',
    async look(picture) {
      const rgb = await picture.rgb({ width, height });
      const [low, high] = range;
      const image = planes(rgb, (value) => low + ((high - low) * value) / 255);
      const { places } = await programs.run('look', () => plan(graph), { image });
      const features = means(places as Float32Array, config.features);
      return { features, embedding: unit(project(toImage!, features)) };
    },
    read: text && (async (words) => unit(project(toText!, await text.summary(words)))),
    dispose: async () => {
      await Promise.all([programs.dispose(), text?.dispose()]);
    },
  };
}

/** A model's first text encoder: its last hidden state where a text ends. */
async function openText(device: NativeDevice, base: { name: string; dir: string }) {
  const [first] = (await OpenModel.open(base)).texts;
  if (!first) throw new Error(`Expected a model that takes text but received ${base.name}`);
  const { component, tokenizer } = first;
  const programs = await load(device, component.dir, component.sources);
  const encoder = new TextEncoder(component, tokenizer, programs);
  return {
    async summary(words: string): Promise<Float32Array> {
      const { ids } = encoder.tokenize(words);
      const states = await encoder.lastHiddenState({ ids, vectors: [] }, 0, (work) => work());
      return pooledRows(states, pooledPositions(component.config, ids, ids.length), ids.length);
    },
    dispose: () => programs.dispose(),
  };
}

/** Of the pictures that CLIP saw: arXiv:2103.00020's code, for each channel. */
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const DEVIATION = [0.26862954, 0.26130258, 0.27577711];

async function openClip(device: NativeDevice, { dir, file, json }: Files): Promise<FeatureNetwork> {
  const isWhole = json.model_type === 'clip';
  // What both halves have in common stands beside them.
  const { projection_dim } = json;
  const half = { ...(projection_dim ? { projection_dim } : {}), ...((json.vision_config as object) ?? json) };
  const config = parseConfig(
    clipVisionConfig,
    isWhole && projection_dim ? { ...half, projection_dim } : half,
    join(dir, 'config.json'),
  );
  const graph = traceClipVision(config, 1);
  const sources = await sourcesOf(file, [...graph.params.keys()]);
  const programs = await load(
    device,
    dir,
    sources.map((source) =>
      source.name.endsWith('class_embedding') ? { ...source, shape: [1, ...source.shape] } : source,
    ),
  );
  const ids = visionIds(config, 1);
  const text = isWhole ? await openClipText(device, { dir, file, json }) : undefined;
  return {
    name: 'CLIP',
    async look(picture) {
      const rgb = await cropped(picture, config.image_size);
      const image = planes(rgb, (value, c) => (value / 255 - MEAN[c]!) / DEVIATION[c]!);
      const { image_embeds } = await programs.run('look', () => plan(graph), { image, ids });
      const features = pooledRows(image_embeds as Float32Array, [0], visionTokens(config));
      return { features, embedding: unit(features) };
    },
    read: text?.read,
    dispose: async () => {
      await Promise.all([programs.dispose(), text?.dispose()]);
    },
  };
}

async function openClipText(device: NativeDevice, { dir, file, json }: Files) {
  const inner = { ...(json.text_config as object), projection_dim: json.projection_dim ?? 512 };
  const config = parseConfig(clipProjectionConfig, inner, join(dir, 'config.json'));
  const { tensors } = await readSafetensors(file);
  const names = tensors.map(({ name }) => name).filter((name) => /^text_(model|projection)\./.test(name));
  const sources = (
    await sourcesOf(
      file,
      names.filter((name) => !name.endsWith('position_ids')),
    )
  ).map((source) => ({ ...source, name: source.name.replace(/^text_model\./, '') }));
  const programs = await load(device, dir, sources);
  const encoder = new TextEncoder(
    { dir, config, sources, parameters: 0, bytes: 0 },
    await standardTokenizer('clip'),
    programs,
  );
  return {
    async read(words: string): Promise<Float32Array> {
      const { ids } = encoder.tokenize(words);
      const { pooled } = await encoder.penultimate({ ids, vectors: [] }, 0, (work) => work());
      return unit(pooled!);
    },
    dispose: () => programs.dispose(),
  };
}

function load(device: NativeDevice, dir: string, sources: WeightSource[]): Promise<Programs> {
  return Programs.load(device, sources, { name: 'features', dir }, programPool());
}

async function sourcesOf(file: string, names: string[]): Promise<WeightSource[]> {
  const { tensors } = await readSafetensors(file);
  const found = new Map(tensors.map((entry) => [entry.name, entry]));
  return names.map((name) => {
    const entry = found.get(name);
    if (!entry) throw new Error(`Expected a tensor ${name} but found none, in ${file}`);
    const { dtype, shape, offset } = entry;
    return { name, dtype: dtype as 'F32', shape, file, offset };
  });
}

/** The middle of a picture, its shorter side scaled to `side`: [side,side,3]. */
async function cropped(picture: Picture, side: number): Promise<Uint8Array> {
  const scale = side / Math.min(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((size) =>
    Math.max(side, Math.floor(size * scale)),
  );
  const rgb = await picture.rgb({ width: width!, height: height! });
  const [left, top] = [Math.floor((width! - side) / 2), Math.floor((height! - side) / 2)];
  const out = new Uint8Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    const from = 3 * ((top + y) * width! + left);
    out.set(rgb.subarray(from, from + 3 * side), 3 * side * y);
  }
  return out;
}

/** [H,W,3] → [3,H,W]. */
function planes(rgb: Uint8Array, value: (byte: number, channel: number) => number): Float32Array {
  const area = rgb.length / 3;
  return Float32Array.from({ length: rgb.length }, (_, i) => {
    const c = Math.floor(i / area);
    return value(rgb[3 * (i % area) + c]!, c);
  });
}

/** [F,h,w] → [F]. */
function means(places: Float32Array, features: number): Float32Array {
  const area = places.length / features;
  const sum = (f: number) => places.subarray(f * area, (f + 1) * area).reduce((a, b) => a + b, 0);
  return Float32Array.from({ length: features }, (_, f) => sum(f) / area);
}

/** matrix [N,K], vector [K] → [N]. */
function project(matrix: Float32Array, vector: Float32Array): Float32Array {
  const K = vector.length;
  return Float32Array.from({ length: matrix.length / K }, (_, n) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += matrix[n * K + k]! * vector[k]!;
    return sum;
  });
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}
