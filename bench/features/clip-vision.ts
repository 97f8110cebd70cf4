import { z } from 'zod';
import { count } from '../../sidecar/checkpoints/config.ts';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { encoderLayer } from '../../sidecar/models/clip.ts';
import { asTokens, conv2d, layerNorm, linear, toNHWC } from '../../sidecar/models/layers.ts';

// CLIP's vision transformer: arXiv:2103.00020, section 2.4. Parameters are named as transformers names them.

/** config.json of a CLIPVisionModelWithProjection, or `vision_config` of a whole CLIPModel's. */
export const clipVisionConfig = z.object({
  hidden_size: count().default(768),
  intermediate_size: count().default(3072),
  num_hidden_layers: count(256).default(12),
  num_attention_heads: count(1024).default(12),
  image_size: count(4096).default(224),
  patch_size: count(1024).default(32),
  num_channels: z.literal(3).default(3),
  hidden_act: z.literal(['quick_gelu', 'gelu']).default('quick_gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
  projection_dim: count().default(512),
});

export type ClipVisionConfig = z.output<typeof clipVisionConfig>;

/** Places of the picture, [H/P·W/P], and one before them that gathers what it shows. */
export function visionTokens({ image_size, patch_size }: ClipVisionConfig): number {
  return 1 + Math.floor(image_size / patch_size) ** 2;
}

/**
 * image [B,3,H,W], normalised, ids i32 [B,T], which are `visionIds` → image_embeds [B,T,P], of which the first row of
 * each picture counts.
 */
export function traceClipVision(config: ClipVisionConfig, batch: number): Graph {
  const { hidden_size: C, image_size: side, patch_size: kernel, layer_norm_eps: eps } = config;
  const g = new Graph('clip vision');
  const w = new Weights(g, 'vision_model');
  const image = g.input('image', [batch, 3, side, side]);
  const ids = g.input('ids', [batch, visionTokens(config)], 'i32');

  const patches = conv2d(g, w.at('embeddings', 'patch_embedding'), toNHWC(g, image), C, {
    ...{ kernel, stride: kernel, padding: [0, 0, 0, 0], bias: false },
  });
  const rows = asTokens(g, patches);
  // The class is a word of its own, the patches are learned ones.
  const learned = g.reshape(rows, [batch * rows.shape[1]!, C]);
  const embeddings = w.at('embeddings');
  const weights = {
    weight: embeddings.param('class_embedding', [1, C]),
    position: embeddings.at('position_embedding').param('weight', [visionTokens(config), C]),
  };
  let x = g.op('embedding', embeddings.path, { ids, learned }, weights);

  x = layerNorm(g, w.at('pre_layrnorm'), x, eps);
  for (let i = 0; i < config.num_hidden_layers; i++)
    x = encoderLayer(g, w.at('encoder', 'layers', i), config, x, { causal: false });
  x = layerNorm(g, w.at('post_layernorm'), x, eps);
  const projection = new Weights(g, 'visual_projection');
  g.output('image_embeds', linear(g, projection, x, config.projection_dim, { bias: false }));
  return g;
}

/** For each picture the class, which is word 0, and its own patches, which follow. */
export function visionIds(config: ClipVisionConfig, batch: number): Int32Array {
  const tokens = visionTokens(config);
  return Int32Array.from({ length: batch * tokens }, (_, i) => {
    const [picture, place] = [Math.floor(i / tokens), i % tokens];
    return place === 0 ? 0 : picture * (tokens - 1) + place;
  });
}
