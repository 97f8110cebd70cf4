import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import type { CrossContext } from './blocks.ts';
import { controlInputs, controlNet } from './controlnet.ts';
import type { ControlNetConfig } from './controlnet-config.ts';
import { toNHWC } from './layers.ts';
import {
  type Conditioning,
  downBlocks,
  midBlock,
  perRow,
  timeEmbedding,
  timeFeatures,
  upBlocks,
} from './unet-blocks.ts';
import type { UNetConfig } from './unet-config.ts';
import {
  addedInput,
  type ContextShape,
  type CrossLayer,
  contextGraph,
  kvInputs,
  type UNetShape,
} from './unet-context.ts';

// UNet2DConditionModel of Stable Diffusion 1.x and 2.x (arXiv:2112.10752, section 3.3 and appendix E) and XL
// (arXiv:2307.01952). What follows from the request alone is a plan of its own, `traceContext`, run once.

/**
 * sample [B,in_channels,h,w], timestep [B], kv.0, kv.1, … [B,S,2C] and, in Stable Diffusion XL, add_embedding [B,E]
 * → sample [B,out_channels,h,w]. All but sample and timestep are what `traceContext` gives.
 *
 * With several texts for each image, sample, timestep and hints have a row for each of the B / texts images.
 *
 * ControlNets are part of it: the parameters and inputs of the i-th have names that begin with `control.i.`. Its hint
 * [B,h,w,C] is what `traceHint` gives, its kv.* and add_embedding what `traceControlContext` gives, scales [R,B] are
 * the factors of its residuals for each image: `residualScales`. A U-Net for inpainting with ControlNets that are not
 * also takes control.sample [B,out_channels,h,w], the latents alone.
 */
export function traceUNet(
  config: UNetConfig,
  shape: UNetShape,
  controls: readonly ControlNetConfig[] = [],
): Graph {
  const g = new Graph('unet');
  const { batch, texts = 1, height, width, tokens } = shape;
  const images = batch / texts;
  const latents = (name: string, C: number) => g.input(name, [images, C, height, width]);
  const sample = latents('sample', config.in_channels);
  const timestep = g.input('timestep', [images]);
  const context = kvInputs(g, '', batch, tokens);
  const added = addedInput(g, '', config, batch);
  const w = new Weights(g);
  const given = { temb: perRow(g, timeEmbedding(g, w, config, timestep, added)), context };
  const x = toNHWC(g, sample);
  const narrow = controls.find(({ in_channels }) => in_channels !== config.in_channels);
  const alone = narrow && toNHWC(g, latents('control.sample', narrow.in_channels));
  const control = (targets: readonly Tensor[]) =>
    controls.reduce((onto, other, i) => {
      const inputs = controlInputs(g, `control.${i}.`, other, shape);
      const seen = { sample: other.in_channels === config.in_channels ? x : alone!, timestep };
      return controlNet(g, w.at('control', i), other, { ...seen, ...inputs }, (j) => onto[j]);
    }, targets);
  g.output('sample', unet(g, w, config, x, given, control));
  return g;
}

/**
 * What the U-Net takes of a request: encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C], the k and v of every
 * cross-attention layer. In Stable Diffusion XL also text_embeds [B,P], time_ids [B,timeIds] → add_embedding [B,E].
 */
export function traceContext(config: UNetConfig, shape: ContextShape): Graph {
  return contextGraph('context', config, crossAttentionLayers(config), shape);
}

const layersOf = new WeakMap<UNetConfig, readonly CrossLayer[]>();

/** The cross-attention layers in the order of the trace, which takes milliseconds: remembered as long as the config is there. */
export function crossAttentionLayers(config: UNetConfig): readonly CrossLayer[] {
  const layers = layersOf.get(config) ?? traceLayers(config);
  layersOf.set(config, layers);
  return layers;
}

function traceLayers(config: UNetConfig): CrossLayer[] {
  const layers: CrossLayer[] = [];
  const g = new Graph('layers');
  const size = 2 ** config.block_out_channels.length;
  const sample = g.input('sample', [1, size, size, config.in_channels]);
  const temb = g.input('temb', [1, timeFeatures(config)]);
  const context: CrossContext = (w, features) => {
    layers.push({ path: w.path, features });
    return g.input(w.path, [1, 1, 2 * features]);
  };
  unet(g, new Weights(g), config, sample, { temb: perRow(g, temb), context });
  return layers;
}

/** @param control adds to the skip connections and, last, to the middle's output. */
function unet(
  g: Graph,
  w: Weights,
  config: UNetConfig,
  sample: Tensor,
  given: Conditioning,
  control = (targets: readonly Tensor[]) => targets,
): Tensor {
  const { x, skips } = downBlocks(g, w, config, sample, given);
  const targets = control([...skips, midBlock(g, w, config, x, given)]);
  return upBlocks(g, w, config, targets.at(-1)!, targets.slice(0, -1), given);
}
