import type { WeightSource } from '../../native.ts';
import { CheckpointError } from '../error.ts';
import { dtypeBytes } from '../header.ts';
import { canonicalKey } from '../keys.ts';
import type { FilePart } from './part.ts';
import { type Tensors, weight } from './tensors.ts';

// Text encoders under transformers' names (CLIP ViT-L), and under OpenCLIP's: github.com/mlfoundations/open_clip,
// transformer.py, where one matrix holds query, key and value, and the projection is on the right of its input.

const openClipNames: [RegExp, string][] = [
  [/^positional_embedding$/, 'embeddings.position_embedding.weight'],
  [/^token_embedding\.weight$/, 'embeddings.token_embedding.weight'],
  [/^ln_final\./, 'final_layer_norm.'],
  [/^transformer\.resblocks\./, 'encoder.layers.'],
  [/\.ln_([12])\./, '.layer_norm$1.'],
  [/\.mlp\.c_fc\./, '.mlp.fc1.'],
  [/\.mlp\.c_proj\./, '.mlp.fc2.'],
  [/\.attn\./, '.self_attn.'],
];

/** Buffers, and what belongs to the images' half of CLIP. */
const openClipOther = /^(logit_scale|logit_bias|attn_mask|visual\..*)$/;

export interface ClipOptions {
  activation: 'quick_gelu' | 'gelu';
  /** With the projection of the pooled text. */
  projection: boolean;
}

/** A text encoder under transformers' names. */
export function clipPart(tensors: Tensors, { activation, projection }: ClipOptions): FilePart {
  const sources = tensors.keys().flatMap((key) => {
    const name = canonicalKey(projection ? 'text_encoder_2' : 'text_encoder', key);
    return name === undefined ? [] : [weight(tensors.get(key)!, tensors.file, name)];
  });
  return partOf(sources, tensors, { activation, projection });
}

export interface OpenClipOptions {
  /** The layers that are used; the rest of the file's are left alone. */
  layers?: number;
  /** With the projection of the pooled text. */
  projection: boolean;
}

/** A text encoder under OpenCLIP's names. */
export function openClipPart(tensors: Tensors, { layers = Infinity, projection }: OpenClipOptions): FilePart {
  const sources = tensors.keys().flatMap((key): WeightSource[] => {
    if (openClipOther.test(key)) return [];
    const layer = /^transformer\.resblocks\.(\d+)\./.exec(key)?.[1];
    if (layer !== undefined && Number(layer) >= layers) return [];
    if (/^text_projection(\.weight)?$/.test(key)) return projection ? [projectionOf(tensors, key)] : [];
    const name = openClipNames.reduce((name, [pattern, to]) => name.replace(pattern, to), key);
    const joined = /^(.*)\.in_proj_(weight|bias)$/.exec(name);
    const source = weight(tensors.get(key)!, tensors.file, name);
    return joined ? thirds(source, joined[1]!, joined[2]!) : [source];
  });
  return partOf(sources, tensors, { activation: 'gelu', projection });
}

/** Query, key and value of one tensor: a third of its rows each. */
function thirds(source: Extract<WeightSource, { file: string }>, at: string, leaf: string): WeightSource[] {
  const [all = 0, ...rest] = source.shape;
  const shape = [all / 3, ...rest];
  const bytes = shape.reduce((a, b) => a * b, dtypeBytes[source.dtype]!);
  if (all % 3) return [source];
  return ['q_proj', 'k_proj', 'v_proj'].map((name, i) => ({
    ...source,
    name: `${at}.${name}.${leaf}`,
    shape,
    offset: source.offset + i * bytes,
  }));
}

/** OpenCLIP's matrix is [C,P], a linear layer's [P,C]; converters write either, and say which by the name. */
function projectionOf(tensors: Tensors, key: string): WeightSource {
  const source = weight(tensors.get(key)!, tensors.file, 'text_projection.weight');
  if (key.endsWith('.weight')) return source;
  const [C, P] = tensors.shape(key, 2);
  return { ...source, shape: [P!, C!], transposed: true };
}

function partOf(
  sources: WeightSource[],
  tensors: Tensors,
  { activation, projection }: ClipOptions,
): FilePart {
  const { file, prefix } = tensors;
  const shapes = new Map(sources.map(({ name, shape }) => [name, shape]));
  const size = (name: string, dimension: number) => {
    const found = shapes.get(name)?.[dimension];
    if (found !== undefined) return found;
    throw new CheckpointError(`Expected ${name} among ${prefix}* but found none, in ${file}`, { file });
  };
  const hidden_size = size('embeddings.token_embedding.weight', 1);
  const layers = [...shapes.keys()].map((name) => Number(/^encoder\.layers\.(\d+)\./.exec(name)?.[1] ?? -1));
  const config = {
    model_type: 'clip_text_model',
    vocab_size: size('embeddings.token_embedding.weight', 0),
    hidden_size,
    intermediate_size: size('encoder.layers.0.mlp.fc1.weight', 0),
    num_hidden_layers: layers.reduce((a, b) => Math.max(a, b), -1) + 1,
    // Heads of 64 channels in all of CLIP and OpenCLIP.
    num_attention_heads: Math.max(1, Math.floor(hidden_size / 64)),
    max_position_embeddings: size('embeddings.position_embedding.weight', 0),
    hidden_act: activation,
    eos_token_id: 49407,
    ...(projection && { projection_dim: size('text_projection.weight', 0) }),
  };
  return { className: projection ? 'CLIPTextModelWithProjection' : 'CLIPTextModel', config, sources };
}
