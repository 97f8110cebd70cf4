import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import { type CrossContext, downsample, resnetBlock, transformer2d, upsample } from './blocks.ts';
import { conv2d, groupNorm, linear, packedLinear, toNCHW, toNHWC } from './layers.ts';
import type { UNetConfig } from './unet-config.ts';

// UNet2DConditionModel of Stable Diffusion 1.x and 2.x: arXiv:2112.10752, section 3.3 and appendix E.
// Parameters are named as diffusers names them. Inside, activations are [B,H,W,C].

export interface UNetShape {
  batch: number;
  /** Of the latents; any size from 1. */
  height: number;
  width: number;
  /** Context tokens: 77 for a prompt of CLIP's length. */
  tokens: number;
}

/** What the blocks are conditioned on: silu of the time embedding [B,D], and k and v of the text. */
export interface Conditioning {
  temb: Tensor;
  context: CrossContext;
}

/**
 * sample [B,in_channels,h,w], timestep [B] and kv.0, kv.1, … [B,S,2C] → sample [B,out_channels,h,w].
 * The k and v are those of `traceContext`.
 */
export function traceUNet(config: UNetConfig, { batch, height, width, tokens }: UNetShape): Graph {
  const g = new Graph('unet');
  const sample = g.input('sample', [batch, config.in_channels, height, width]);
  const timestep = g.input('timestep', [batch]);
  let layers = 0;
  const context: CrossContext = (_, features) => g.input(`kv.${layers++}`, [batch, tokens, 2 * features]);
  g.output('sample', unet(g, new Weights(g), config, sample, timestep, context));
  return g;
}

/** k and v of every cross-attention layer: encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C]. */
export function traceContext(
  config: UNetConfig,
  { batch, tokens }: { batch: number; tokens: number },
): Graph {
  const g = new Graph('context');
  const text = g.input('encoder_hidden_states', [batch, tokens, config.cross_attention_dim]);
  crossAttentionLayers(config).forEach(({ path, features }, i) => {
    const w = new Weights(g, path);
    g.output(`kv.${i}`, packedLinear(g, w, ['to_k', 'to_v'], text, features, { bias: false }));
  });
  return g;
}

/** The cross-attention layers in the order of the trace. */
export function crossAttentionLayers(config: UNetConfig): { path: string; features: number }[] {
  const layers: { path: string; features: number }[] = [];
  const g = new Graph('layers');
  const size = 2 ** config.block_out_channels.length;
  const sample = g.input('sample', [1, config.in_channels, size, size]);
  unet(g, new Weights(g), config, sample, g.input('timestep', [1]), (w, features) => {
    layers.push({ path: w.path, features });
    return g.input(w.path, [1, 1, 2 * features]);
  });
  return layers;
}

function unet(
  g: Graph,
  w: Weights,
  config: UNetConfig,
  sample: Tensor,
  timestep: Tensor,
  context: CrossContext,
): Tensor {
  const given = { temb: timeEmbedding(g, w, config, timestep), context };
  const { x, skips } = downBlocks(g, w, config, toNHWC(g, sample), given);
  return upBlocks(g, w, config, midBlock(g, w, config, x, given), skips, given);
}

/** timestep [B] → silu of its embedding [B,D]: no block uses the embedding in another way. */
export function timeEmbedding(g: Graph, w: Weights, config: UNetConfig, timestep: Tensor): Tensor {
  const dim = config.block_out_channels[0]!;
  const features = config.time_embedding_dim ?? 4 * dim;
  const { flip_sin_to_cos, freq_shift } = config;
  const attrs = { dim, flip_sin_to_cos, freq_shift, max_period: 10000 };
  const t = g.op('timestep_embedding', 'time_proj', { t: timestep }, {}, attrs);
  const h = linear(g, w.at('time_embedding', 'linear_1'), t, features, { activation: 'silu' });
  return linear(g, w.at('time_embedding', 'linear_2'), h, features, { activation: 'silu' });
}

/** The encoder: x [B,h,w,in_channels] → its last activation, and one skip connection for each resnet to come. */
export function downBlocks(
  g: Graph,
  w: Weights,
  config: UNetConfig,
  sample: Tensor,
  { temb, context }: Conditioning,
): { x: Tensor; skips: Tensor[] } {
  const { block_out_channels: channels, heads, norm_num_groups: groups, norm_eps: eps } = config;
  let x = conv2d(g, w.at('conv_in'), sample, channels[0]!, { kernel: config.conv_in_kernel });
  const skips = [x];
  config.down_block_types.forEach((type, i) => {
    const block = w.at('down_blocks', i);
    config.transformers.down[i]!.forEach((layers, j) => {
      x = resnetBlock(g, block.at('resnets', j), x, channels[i]!, { norm: { groups, eps }, temb });
      if (type === 'CrossAttnDownBlock2D')
        x = transformer2d(g, block.at('attentions', j), x, { heads: heads[i]!, layers, groups, context });
      skips.push(x);
    });
    if (i < channels.length - 1) {
      x = downsample(g, block.at('downsamplers', 0), x, config.downsample_padding);
      skips.push(x);
    }
  });
  return { x, skips };
}

/** x [B,h,w,C] → the same. */
export function midBlock(
  g: Graph,
  w: Weights,
  config: UNetConfig,
  x: Tensor,
  { temb, context }: Conditioning,
): Tensor {
  const { mid_block_type: type, norm_num_groups: groups, norm_eps: eps } = config;
  if (type === null) return x;
  const block = w.at('mid_block');
  const resnet = { norm: { groups, eps }, temb };
  const features = config.block_out_channels.at(-1)!;
  x = resnetBlock(g, block.at('resnets', 0), x, features, resnet);
  if (type === 'UNetMidBlock2D') return x;
  const [heads, layers] = [config.heads.at(-1)!, config.transformers.mid];
  x = transformer2d(g, block.at('attentions', 0), x, { heads, layers, groups, context });
  return resnetBlock(g, block.at('resnets', 1), x, features, resnet);
}

/** The decoder: x and the skip connections, last first → sample [B,out_channels,h,w]. */
export function upBlocks(
  g: Graph,
  w: Weights,
  config: UNetConfig,
  x: Tensor,
  skips: readonly Tensor[],
  { temb, context }: Conditioning,
): Tensor {
  const { norm_num_groups: groups, norm_eps: eps } = config;
  const [channels, heads] = [config.block_out_channels.toReversed(), config.heads.toReversed()];
  const left = [...skips];
  config.up_block_types.forEach((type, i) => {
    const block = w.at('up_blocks', i);
    config.transformers.up[i]!.forEach((layers, j) => {
      x = resnetBlock(g, block.at('resnets', j), x, channels[i]!, {
        norm: { groups, eps },
        temb,
        skip: left.pop()!,
      });
      if (type === 'CrossAttnUpBlock2D')
        x = transformer2d(g, block.at('attentions', j), x, { heads: heads[i]!, layers, groups, context });
    });
    // Sizes that do not halve evenly come back as they were.
    if (i < channels.length - 1)
      x = upsample(g, block.at('upsamplers', 0), x, left.at(-1)!.shape.slice(1, 3));
  });
  x = groupNorm(g, w.at('conv_norm_out'), x, { groups, eps, silu: true });
  x = conv2d(g, w.at('conv_out'), x, config.out_channels, { kernel: config.conv_out_kernel });
  return toNCHW(g, x);
}
