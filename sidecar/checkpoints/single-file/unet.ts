import { CheckpointError } from '../error.ts';
import type { FilePart, Lineage } from './part.ts';
import { type Tensors, weight } from './tensors.ts';

// The U-Net as CompVis and Stability named it: github.com/CompVis/latent-diffusion and
// github.com/Stability-AI/generative-models, openaimodel.py. Blocks are counted through all levels.

const fixed: Record<string, string> = {
  'input_blocks.0.0': 'conv_in',
  'time_embed.0': 'time_embedding.linear_1',
  'time_embed.2': 'time_embedding.linear_2',
  'label_emb.0.0': 'add_embedding.linear_1',
  'label_emb.0.2': 'add_embedding.linear_2',
  'out.0': 'conv_norm_out',
  'out.2': 'conv_out',
};

const resnet: Record<string, string> = {
  'in_layers.0': 'norm1',
  'in_layers.2': 'conv1',
  'emb_layers.1': 'time_emb_proj',
  'out_layers.0': 'norm2',
  'out_layers.3': 'conv2',
  skip_connection: 'conv_shortcut',
};

/**
 * The models' name of a tensor; the key itself where it is none of this U-Net.
 * @param layers resnets of a level on the way down; on the way up there is one more.
 */
export function unetName(key: string, layers: number): string {
  const dot = key.lastIndexOf('.');
  const [stem, leaf] = [key.slice(0, dot), key.slice(dot)];
  if (Object.hasOwn(fixed, stem)) return fixed[stem]! + leaf;
  const match = /^(?:(input|output)_blocks\.(\d+)|middle_block)\.(\d+)\.(.+)$/.exec(stem);
  if (!match) return key;
  const [, side, block, index, rest] = match;
  const inner = (Object.hasOwn(resnet, rest!) ? resnet[rest!]! : rest!) + leaf;
  const isResnet = Object.hasOwn(resnet, rest!);
  if (side === undefined)
    return `mid_block.${isResnet ? `resnets.${Number(index) / 2}` : 'attentions.0'}.${inner}`;
  // The first input block is conv_in; each level's last one is the step to the next.
  const n = side === 'input' ? Number(block) - 1 : Number(block);
  const level = `${side === 'input' ? 'down' : 'up'}_blocks.${Math.floor(n / (layers + 1))}`;
  if (rest === 'op') return `${level}.downsamplers.0.conv${leaf}`;
  if (rest === 'conv') return `${level}.upsamplers.0.conv${leaf}`;
  return `${level}.${isResnet ? 'resnets' : 'attentions'}.${n % (layers + 1)}.${inner}`;
}

/** @throws CheckpointError naming what does not make a U-Net. */
export function unetPart(tensors: Tensors, lineage: Lineage, sampleSize: number): FilePart {
  const levels = levelsOf(tensors);
  const layers = levels[0]!.transformers.length;
  const sources = tensors.keys().map((key) => weight(tensors.get(key)!, tensors.file, unetName(key, layers)));
  return {
    className: 'UNet2DConditionModel',
    config: configOf(tensors, levels, lineage, sampleSize),
    sources,
  };
}

interface Level {
  channels: number;
  /** Transformer layers after each resnet; 0: no attention. */
  transformers: number[];
}

function levelsOf(tensors: Tensors): Level[] {
  let level: Level = { channels: 0, transformers: [] };
  const levels = [level];
  for (let i = 1; i < tensors.count('input_blocks'); i++) {
    if (tensors.has(`input_blocks.${i}.0.op.weight`)) {
      level = { channels: 0, transformers: [] };
      levels.push(level);
    } else {
      level.channels = tensors.shape(`input_blocks.${i}.0.out_layers.3.weight`, 4)[0]!;
      level.transformers.push(tensors.count(`input_blocks.${i}.1.transformer_blocks`));
    }
  }
  const resnets = levels.map((each) => each.transformers.length);
  if (resnets[0] === 0 || resnets.some((n) => n !== resnets[0]))
    throw new CheckpointError(
      `Expected as many resnets at each level of the U-Net but received ${resnets.join(', ')}, in ${tensors.file}`,
      { file: tensors.file },
    );
  return levels;
}

function configOf(tensors: Tensors, levels: Level[], lineage: Lineage, sampleSize: number) {
  const layers = levels[0]!.transformers.length;
  const channels = levels.map((level) => level.channels);
  const up = levels.map((_, i) =>
    Array.from({ length: layers + 1 }, (_, j) =>
      tensors.count(`output_blocks.${i * (layers + 1) + j}.1.transformer_blocks`),
    ),
  );
  const attends = (counts: number[]) => counts.some((n) => n > 0);
  const context = tensors.find(/\.attn2\.to_k\.weight$/);
  const projection = tensors.find(/\.proj_in\.weight$/);
  const label = 'label_emb.0.0.weight';
  return {
    _class_name: 'UNet2DConditionModel',
    sample_size: sampleSize,
    in_channels: tensors.shape('input_blocks.0.0.weight', 4)[1]!,
    out_channels: tensors.shape('out.2.weight', 4)[0]!,
    block_out_channels: channels,
    layers_per_block: layers,
    down_block_types: levels.map((level) =>
      attends(level.transformers) ? 'CrossAttnDownBlock2D' : 'DownBlock2D',
    ),
    up_block_types: up.map((counts) => (attends(counts) ? 'CrossAttnUpBlock2D' : 'UpBlock2D')),
    ...transformerCounts(levels, up, tensors.count('middle_block.1.transformer_blocks')),
    ...(context && { cross_attention_dim: tensors.shape(context, 2)[1]! }),
    // By lineage: 8 heads everywhere, later heads of 64 channels.
    attention_head_dim: lineage === 'sd1' ? 8 : channels.map((n) => Math.max(1, Math.floor(n / 64))),
    use_linear_projection: projection !== undefined && tensors.get(projection)!.shape.length === 2,
    ...(tensors.has(label) && {
      addition_embed_type: 'text_time',
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: tensors.shape(label, 2)[1]!,
    }),
  };
}

/** One number for each level, or, where a level's resnets differ (distilled models), one for each resnet. */
function transformerCounts(levels: Level[], up: number[][], middle: number) {
  const last = levels.length - 1;
  // Where there is no attention the number means nothing; the last level's is also the middle block's.
  const down = levels.map(({ transformers: counts }, i) =>
    counts.some((n) => n > 0) ? counts : counts.map(() => (i === last ? Math.max(1, middle) : 1)),
  );
  const even = down.every((counts, i) => {
    const all = up[last - i]!.some((n) => n > 0) ? [...counts, ...up[last - i]!] : counts;
    return all.every((n) => n === counts[0]);
  });
  if (even) return { transformer_layers_per_block: down.map((counts) => counts[0]!) };
  return { transformer_layers_per_block: down, reverse_transformer_layers_per_block: up };
}
