import type { Graph, Tensor, Weights } from '../graph/builder.ts';
import {
  type CrossContext,
  downsample,
  type Norm,
  resnetBlock,
  spatialAttention,
  transformer2d,
  upsample,
} from './blocks.ts';
import { activation, conv2d, groupNorm, linear, repeatTo, toNCHW } from './layers.ts';
import type { Attention } from './unet-config.ts';

// Encoder, middle and decoder of U-Nets (arXiv:1505.04597, arXiv:2112.10752, section 3.3), whatever they are
// conditioned on. Parameters are named as diffusers names them. Inside, activations are [B,H,W,C].

/** What the configs of all encoders, a ControlNet's too, come to. Lists have one entry for each down block. */
export interface UNetEncoder {
  block_out_channels: number[];
  /** Resnets of a down block; an up block has one more. */
  layers_per_block: number[];
  /** What follows each of a block's resnets. */
  attention: { down: Attention[]; mid: Attention };
  /** Of the middle: 2 around its attention, 1 or none. */
  mid_resnets: number;
  /** Of each down block; up blocks have them in reverse. */
  heads: number[];
  /** Transformer layers of each resnet of each block, where there is cross-attention. */
  transformers?: { down: number[][]; mid: number };
  norm_num_groups: number;
  norm_eps: number;
  downsample_padding: number;
  conv_in_kernel: number;
  flip_sin_to_cos: boolean;
  freq_shift: number;
  time_embedding_dim?: number | null;
}

/** What the configs of all U-Nets come to. */
export interface UNetBlocks extends UNetEncoder {
  out_channels: number;
  attention: UNetEncoder['attention'] & { up: Attention[] };
  transformers?: UNetEncoder['transformers'] & { up: number[][] };
  conv_out_kernel: number;
}

/** What the blocks are conditioned on. */
export interface Conditioning {
  /** silu of the time embedding [rows,E], for as many rows as are asked for. */
  temb: (rows: number) => Tensor;
  /** k and v of the text, where there is one. */
  context?: CrossContext;
}

/** Sinusoids of times or of sizes, [B] → [B,dim]. */
export function sinusoids(g: Graph, scope: string, config: UNetEncoder, t: Tensor, dim: number): Tensor {
  const { flip_sin_to_cos, freq_shift } = config;
  return g.op(
    'timestep_embedding',
    scope,
    { t },
    {},
    { dim, flip_sin_to_cos, freq_shift, max_period: 10000 },
  );
}

/** Width E of the time embedding. */
export function timeFeatures(config: UNetEncoder): number {
  return config.time_embedding_dim ?? 4 * config.block_out_channels[0]!;
}

/**
 * timestep [B] → silu of its embedding [B,E]: no block uses the embedding in another way.
 * @param added an embedding [B,E] of what else the model is conditioned on.
 */
export function timeEmbedding(
  g: Graph,
  w: Weights,
  config: UNetEncoder,
  timestep: Tensor,
  added?: Tensor,
): Tensor {
  const features = timeFeatures(config);
  const t = sinusoids(g, w.at('time_proj').path, config, timestep, config.block_out_channels[0]!);
  const h = linear(g, w.at('time_embedding', 'linear_1'), t, features, { activation: 'silu' });
  const second = w.at('time_embedding', 'linear_2');
  if (!added) return linear(g, second, h, features, { activation: 'silu' });
  return activation(
    g,
    w.at('time_embedding').path,
    linear(g, second, h, features, { residual: added }),
    'silu',
  );
}

/** silu of the time embedding [n,E] of images, as blocks take it: repeated once for all that have a row for each text. */
export function perRow(g: Graph, temb: Tensor): Conditioning['temb'] {
  let repeated = temb;
  return (rows) => {
    if (rows === temb.shape[0]) return temb;
    if (rows !== repeated.shape[0]) repeated = repeatTo(g, 'time_embedding', temb, rows);
    return repeated;
  };
}

/** What an encoder has besides a U-Net's. */
export interface EncoderOptions {
  /** Added to the first convolution's output, of its shape. */
  hint?: Tensor;
  /** What to give for the skip connection `i`, as soon as it is known; default: the activation itself. */
  skip?: (x: Tensor, i: number) => Tensor;
}

/**
 * The encoder: x [n,h,w,in_channels] → its last activation, and one skip connection for each resnet to come. What comes
 * before the first text has a row for each of the n images, what comes after one for each text of each image.
 */
export function downBlocks(
  g: Graph,
  w: Weights,
  config: UNetEncoder,
  sample: Tensor,
  given: Conditioning,
  { hint, skip = (x) => x }: EncoderOptions = {},
): { x: Tensor; skips: Tensor[] } {
  const { block_out_channels: channels, layers_per_block, attention, heads, transformers } = config;
  let x = conv2d(g, w.at('conv_in'), sample, channels[0]!, { kernel: config.conv_in_kernel, residual: hint });
  const skips = [skip(x, 0)];
  for (const [i, features] of channels.entries()) {
    const block = w.at('down_blocks', i);
    for (let j = 0; j < layers_per_block[i]!; j++) {
      const resnet = { norm: normOf(config), temb: given.temb(x.shape[0]!) };
      x = resnetBlock(g, block.at('resnets', j), x, features, resnet);
      const how = { heads: heads[i]!, layers: transformers?.down[i]?.[j] };
      x = attend(g, block.at('attentions', j), config, x, attention.down[i]!, how, given);
      skips.push(skip(x, skips.length));
    }
    if (i < channels.length - 1) {
      x = downsample(g, block.at('downsamplers', 0), x, config.downsample_padding);
      skips.push(skip(x, skips.length));
    }
  }
  return { x, skips };
}

/** x [B,h,w,C] → the same. */
export function midBlock(g: Graph, w: Weights, config: UNetEncoder, x: Tensor, given: Conditioning): Tensor {
  const { attention, heads, mid_resnets: resnets, transformers } = config;
  const block = w.at('mid_block');
  const resnet = (j: number) => {
    const options = { norm: normOf(config), temb: given.temb(x.shape[0]!) };
    return resnetBlock(g, block.at('resnets', j), x, x.shape[3]!, options);
  };
  if (resnets > 0) x = resnet(0);
  const how = { heads: heads.at(-1)!, layers: transformers?.mid };
  x = attend(g, block.at('attentions', 0), config, x, attention.mid, how, given);
  if (resnets > 1) x = resnet(1);
  return x;
}

/** The decoder: x and the skip connections, last first → sample [B,out_channels,h,w]. */
export function upBlocks(
  g: Graph,
  w: Weights,
  config: UNetBlocks,
  x: Tensor,
  skips: readonly Tensor[],
  given: Conditioning,
): Tensor {
  const { attention, transformers } = config;
  const [channels, heads] = [config.block_out_channels.toReversed(), config.heads.toReversed()];
  const layers = config.layers_per_block.toReversed();
  const left = [...skips];
  for (const [i, features] of channels.entries()) {
    const block = w.at('up_blocks', i);
    for (let j = 0; j < layers[i]! + 1; j++) {
      const [rows, at] = [x.shape[0]!, block.at('resnets', j)];
      const skip = repeatTo(g, at.path, left.pop()!, rows);
      x = resnetBlock(g, at, x, features, { norm: normOf(config), temb: given.temb(rows), skip });
      const how = { heads: heads[i]!, layers: transformers?.up[i]?.[j] };
      x = attend(g, block.at('attentions', j), config, x, attention.up[i]!, how, given);
    }
    // Sizes that do not halve evenly come back as they were.
    if (i < channels.length - 1)
      x = upsample(g, block.at('upsamplers', 0), x, left.at(-1)!.shape.slice(1, 3));
  }
  x = groupNorm(g, w.at('conv_norm_out'), x, { ...normOf(config), silu: true });
  x = conv2d(g, w.at('conv_out'), x, config.out_channels, { kernel: config.conv_out_kernel });
  return toNCHW(g, x);
}

function attend(
  g: Graph,
  w: Weights,
  config: UNetEncoder,
  x: Tensor,
  to: Attention,
  { heads, layers = 0 }: { heads: number; layers?: number },
  { context }: Conditioning,
): Tensor {
  if (to === 'self') return spatialAttention(g, w, x, { heads, norm: normOf(config) });
  if (to === 'none') return x;
  if (!context) throw new Error(`Expected k and v of a text for the attention at ${w.path}`);
  return transformer2d(g, w, x, { heads, layers, groups: config.norm_num_groups, context });
}

function normOf({ norm_num_groups: groups, norm_eps: eps }: UNetEncoder): Norm {
  return { groups, eps };
}
