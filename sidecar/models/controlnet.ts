import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import type { CrossContext } from './blocks.ts';
import { type ControlNetConfig, residualCount } from './controlnet-config.ts';
import { activation, conv2d, repeatTo, toNCHW, toNHWC, zeroConv } from './layers.ts';
import {
  type Conditioning,
  downBlocks,
  midBlock,
  perRow,
  timeEmbedding,
  timeFeatures,
} from './unet-blocks.ts';
import {
  addedInput,
  type ContextShape,
  type CrossLayer,
  contextGraph,
  kvInputs,
  type UNetShape,
} from './unet-context.ts';

// ControlNetModel of Stable Diffusion 1.x, 2.x and XL: arXiv:2302.05543, section 3.2. A copy of a U-Net's encoder that
// sees a hint; what it finds is added to the U-Net's skip connections by convolutions that began as zeros.

/** A picture's size in pixels. */
export interface HintShape {
  batch: number;
  height: number;
  width: number;
}

/** What a ControlNet takes in a step. */
export interface ControlInputs {
  /** Latents [n,h,w,in_channels] of n images. */
  sample: Tensor;
  /** [n] */
  timestep: Tensor;
  /** The embedded hint [n,h,w,C]. */
  hint: Tensor;
  /** Factors of the residuals for each row [R,B]: B is a multiple of n, one row for each text of each image. */
  scales: Tensor;
  context: CrossContext;
  /** Of Stable Diffusion XL [B,E]. */
  added?: Tensor;
}

/** Where residuals go: what to add the residual `i` to, where there is anything; the last is the middle's. */
type Onto = (i: number) => Tensor | undefined;

/**
 * The residuals of a step, in the order of the skip connections, then the middle's: each [B,h',w',C'], on top of what
 * `onto` gives.
 */
export function controlNet(
  g: Graph,
  w: Weights,
  config: ControlNetConfig,
  { sample, timestep, hint, scales: scale, context, added }: ControlInputs,
  onto: Onto = () => undefined,
): Tensor[] {
  const given: Conditioning = {
    temb: perRow(g, timeEmbedding(g, w, config, timestep, added)),
    context,
  };
  const residual = (w: Weights, x: Tensor, level: number) => {
    const [rows, target] = [scale.shape[1]!, onto(level)];
    return zeroConv(g, w, repeatTo(g, w.path, x, rows), {
      ...{ scale, level },
      onto: target && repeatTo(g, w.path, target, rows),
    });
  };
  const skip = (x: Tensor, i: number) => residual(w.at('controlnet_down_blocks', i), x, i);
  const { x, skips } = downBlocks(g, w, config, sample, given, { hint, skip });
  const middle = midBlock(g, w, config, x, given);
  return [...skips, residual(w.at('controlnet_mid_block'), middle, skips.length)];
}

/** controlnet_cond [B,3,H,W], in 0…1 → hint [B,h,w,C], at the size of the latents: once for a request. */
export function traceHint(config: ControlNetConfig, { batch, height, width }: HintShape): Graph {
  const g = new Graph('hint');
  const w = new Weights(g, 'controlnet_cond_embedding');
  const channels = config.conditioning_embedding_out_channels;
  const silu = (x: Tensor, at: Weights) => activation(g, at.path, x, 'silu');
  let x = toNHWC(g, g.input('controlnet_cond', [batch, config.conditioning_channels, height, width]));
  x = silu(conv2d(g, w.at('conv_in'), x, channels[0]!), w.at('conv_in'));
  for (const [i, features] of channels.slice(1).entries()) {
    const [same, half] = [w.at('blocks', 2 * i), w.at('blocks', 2 * i + 1)];
    x = silu(conv2d(g, same, x, channels[i]!), same);
    x = silu(conv2d(g, half, x, features, { stride: 2 }), half);
  }
  g.output('hint', conv2d(g, w.at('conv_out'), x, config.block_out_channels[0]!));
  return g;
}

/**
 * What a ControlNet takes of a request's text: encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C]; in Stable
 * Diffusion XL also text_embeds [B,P], time_ids [B,timeIds] → add_embedding [B,E]. Of one without either nothing.
 */
export function traceControlContext(config: ControlNetConfig, shape: ContextShape): Graph {
  return contextGraph('control-context', config, controlAttentionLayers(config), shape);
}

/**
 * A ControlNet alone: sample [B,C,h,w], timestep [B], hint [B,h,w,C], scales [R,B], kv.*, in Stable Diffusion XL
 * add_embedding [B,E] → down.0, down.1, …, mid [B,C',h',w'].
 */
export function traceControlNet(config: ControlNetConfig, shape: UNetShape): Graph {
  const g = new Graph('controlnet');
  const { batch, height, width } = shape;
  const sample = toNHWC(g, g.input('sample', [batch, config.in_channels, height, width]));
  const timestep = g.input('timestep', [batch]);
  const residuals = controlNet(g, new Weights(g), config, {
    ...{ sample, timestep },
    ...controlInputs(g, '', config, shape),
  });
  const down = residuals.slice(0, -1);
  for (const [i, residual] of down.entries()) g.output(`down.${i}`, toNCHW(g, residual));
  g.output('mid', toNCHW(g, residuals.at(-1)!));
  return g;
}

/** A ControlNet's own inputs of a step, by their names after a prefix: `hint`, `scales`, `add_embedding`, `kv.0`, … */
export function controlInputs(
  g: Graph,
  prefix: string,
  config: ControlNetConfig,
  { batch, texts = 1, height, width, tokens }: UNetShape,
): Omit<ControlInputs, 'sample' | 'timestep'> {
  return {
    hint: g.input(`${prefix}hint`, [batch / texts, height, width, config.block_out_channels[0]!]),
    scales: g.input(`${prefix}scales`, [residualCount(config), batch]),
    added: addedInput(g, prefix, config, batch),
    context: kvInputs(g, prefix, batch, tokens),
  };
}

/** The cross-attention layers in the order of the trace. */
export function controlAttentionLayers(config: ControlNetConfig): CrossLayer[] {
  const layers: CrossLayer[] = [];
  const g = new Graph('layers');
  const size = 2 ** config.block_out_channels.length;
  const context: CrossContext = (w, features) => {
    layers.push({ path: w.path, features });
    return g.input(w.path, [1, 1, 2 * features]);
  };
  controlNet(g, new Weights(g), config, {
    sample: g.input('sample', [1, size, size, config.in_channels]),
    timestep: g.input('timestep', [1]),
    hint: g.input('hint', [1, size, size, config.block_out_channels[0]!]),
    scales: g.input('scales', [residualCount(config), 1]),
    added: config.added ? g.input('added', [1, timeFeatures(config)]) : undefined,
    context,
  });
  return layers;
}
