import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import type { CrossContext } from './blocks.ts';
import { activation, conv2d, linear, packedLinear, toNHWC } from './layers.ts';
import {
  type Conditioning,
  downBlocks,
  midBlock,
  sinusoids,
  timeEmbedding,
  timeFeatures,
  upBlocks,
} from './unet-blocks.ts';
import type { UNetConfig } from './unet-config.ts';

// UNet2DConditionModel of Stable Diffusion 1.x and 2.x (arXiv:2112.10752, section 3.3 and appendix E) and XL
// (arXiv:2307.01952). What follows from the request alone is a plan of its own, `traceContext`, run once.

export interface UNetShape {
  batch: number;
  /** Of the latents; any size from 1. */
  height: number;
  width: number;
  /** Context tokens: 77 for a prompt of CLIP's length. */
  tokens: number;
}

export interface ContextShape {
  batch: number;
  tokens: number;
  /** Stable Diffusion XL: how many numbers of time_ids. 6 in the base model, 5 in the refiner. */
  timeIds?: number;
}

/**
 * sample [B,in_channels,h,w], timestep [B], kv.0, kv.1, … [B,S,2C] and, in Stable Diffusion XL, add_embedding [B,E]
 * → sample [B,out_channels,h,w]. All but sample and timestep are what `traceContext` gives.
 */
export function traceUNet(config: UNetConfig, { batch, height, width, tokens }: UNetShape): Graph {
  const g = new Graph('unet');
  const sample = g.input('sample', [batch, config.in_channels, height, width]);
  const timestep = g.input('timestep', [batch]);
  let layers = 0;
  const context: CrossContext = (_, features) => g.input(`kv.${layers++}`, [batch, tokens, 2 * features]);
  const added = config.added ? g.input('add_embedding', [batch, timeFeatures(config)]) : undefined;
  const w = new Weights(g);
  g.output(
    'sample',
    unet(g, w, config, sample, { temb: timeEmbedding(g, w, config, timestep, added), context }),
  );
  return g;
}

/**
 * What the U-Net takes of a request: encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C], the k and v of every
 * cross-attention layer. In Stable Diffusion XL also text_embeds [B,P], time_ids [B,timeIds] → add_embedding [B,E].
 */
export function traceContext(config: UNetConfig, { batch, tokens, timeIds = 6 }: ContextShape): Graph {
  const g = new Graph('context');
  const text = g.input('encoder_hidden_states', [batch, tokens, config.cross_attention_dim]);
  crossAttentionLayers(config).forEach(({ path, features }, i) => {
    const w = new Weights(g, path);
    g.output(`kv.${i}`, packedLinear(g, w, ['to_k', 'to_v'], text, features, { bias: false }));
  });
  if (config.added) {
    const pooled = g.input('text_embeds', [batch, textFeatures(config.added, timeIds)]);
    const ids = g.input('time_ids', [batch, timeIds]);
    g.output('add_embedding', addEmbedding(g, new Weights(g), config, pooled, ids));
  }
  return g;
}

/** The cross-attention layers in the order of the trace. */
export function crossAttentionLayers(config: UNetConfig): { path: string; features: number }[] {
  const layers: { path: string; features: number }[] = [];
  const g = new Graph('layers');
  const size = 2 ** config.block_out_channels.length;
  const sample = g.input('sample', [1, config.in_channels, size, size]);
  const temb = g.input('temb', [1, timeFeatures(config)]);
  const context: CrossContext = (w, features) => {
    layers.push({ path: w.path, features });
    return g.input(w.path, [1, 1, 2 * features]);
  };
  unet(g, new Weights(g), config, sample, { temb, context });
  return layers;
}

/**
 * text_embeds [B,P], the pooled text, and time_ids [B,n], sizes and crops in pixels → an embedding [B,E] that is
 * added to the time's: arXiv:2307.01952, section 2.2.
 */
export function addEmbedding(g: Graph, w: Weights, config: UNetConfig, text: Tensor, ids: Tensor): Tensor {
  const [batch, n] = ids.shape as [number, number];
  const { sizeFeatures } = config.added!;
  const features = timeFeatures(config);
  const sizes = sinusoids(g, 'add_time_proj', config, g.reshape(ids, [batch * n]), sizeFeatures);
  const image = (x: Tensor, C: number) => g.reshape(x, [batch, 1, 1, C]);
  // A linear layer over text and sizes side by side is a 1x1 convolution with two inputs.
  let h = conv2d(g, w.at('add_embedding', 'linear_1'), image(text, text.shape[1]!), features, {
    kernel: 1,
    x2: image(sizes, n * sizeFeatures),
  });
  h = activation(g, 'add_embedding', g.reshape(h, [batch, features]), 'silu');
  return linear(g, w.at('add_embedding', 'linear_2'), h, features);
}

/** Width P of the pooled text: what is left beside the embeddings of the sizes. */
function textFeatures({ features, sizeFeatures }: NonNullable<UNetConfig['added']>, timeIds: number): number {
  const rest = features - timeIds * sizeFeatures;
  if (!Number.isInteger(timeIds) || timeIds < 1 || rest < 1)
    throw new Error(
      `Expected time_ids that leave room for the text in ${features} features but received ${timeIds} of ${sizeFeatures} each`,
    );
  return rest;
}

function unet(g: Graph, w: Weights, config: UNetConfig, sample: Tensor, given: Conditioning): Tensor {
  const { x, skips } = downBlocks(g, w, config, toNHWC(g, sample), given);
  return upBlocks(g, w, config, midBlock(g, w, config, x, given), skips, given);
}
