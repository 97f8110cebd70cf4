import type { Graph, Tensor, Weights } from '../graph/builder.ts';
import {
  asTokens,
  attention,
  conv2d,
  groupNorm,
  layerNorm,
  linear,
  packedLinear,
  repeatTo,
} from './layers.ts';

// The blocks that U-Nets, ControlNets and autoencoders share, by the names of diffusers' modules.

export interface Norm {
  groups: number;
  eps: number;
}

/**
 * ResnetBlock2D: x + conv(silu(norm(conv(silu(norm(x))) + temb))). x [N,H,W,C] → [N,H,W,features].
 * @param options.temb silu of the time embedding [N,D]; autoencoders have none.
 * @param options.skip a skip connection [N,H,W,C'], joined after x.
 */
export function resnetBlock(
  g: Graph,
  w: Weights,
  x: Tensor,
  features: number,
  { norm, temb, skip }: { norm: Norm; temb?: Tensor; skip?: Tensor },
): Tensor {
  const x2 = skip;
  const C = x.shape[3]! + (x2?.shape[3] ?? 0);
  if (x2 && C === features)
    throw new Error(`Expected ${features} output channels to differ from the joined input's at ${w.path}`);
  const shortcut = C === features ? x : conv2d(g, w.at('conv_shortcut'), x, features, { kernel: 1, x2 });
  let h = groupNorm(g, w.at('norm1'), x, { ...norm, silu: true, x2 });
  h = conv2d(g, w.at('conv1'), h, features, {
    temb: temb && linear(g, w.at('time_emb_proj'), temb, features),
  });
  h = groupNorm(g, w.at('norm2'), h, { ...norm, silu: true });
  return conv2d(g, w.at('conv2'), h, features, { residual: shortcut });
}

/**
 * Downsample2D: half the size by a strided convolution. Padding 0 means one row and column at the far side; sizes are
 * even then.
 */
export function downsample(g: Graph, w: Weights, x: Tensor, padding: number): Tensor {
  const [, H, W] = x.shape as [number, number, number];
  if (padding === 0 && (H % 2 !== 0 || W % 2 !== 0))
    throw new Error(`Expected an even size at ${w.path}, as its padding is 0, but received ${W}x${H}`);
  return conv2d(g, w.at('conv'), x, x.shape[3]!, {
    stride: 2,
    padding: padding === 0 ? [0, 0, 1, 1] : [padding, padding, padding, padding],
  });
}

/** Upsample2D: nearest neighbours to [H', W'] (twice the size, or one less), then a convolution. */
export function upsample(g: Graph, w: Weights, x: Tensor, size: number[]): Tensor {
  return conv2d(g, w.at('conv'), x, x.shape[3]!, { upsample: size });
}

/** Attention over all pixels with its own norm and residual, as in autoencoders. x [N,H,W,C] → the same. */
export function spatialAttention(
  g: Graph,
  w: Weights,
  x: Tensor,
  { heads, norm }: { heads: number; norm: Norm },
): Tensor {
  const C = x.shape[3]!;
  const h = asTokens(g, groupNorm(g, w.at('group_norm'), x, norm));
  const qkv = packedLinear(g, w, ['to_q', 'to_k', 'to_v'], h, C, { bias: true });
  const a = attention(g, w, qkv, { heads });
  return g.reshape(linear(g, w.at('to_out', 0), a, C, { residual: asTokens(g, x) }), x.shape);
}

/** Packed k and v [B,S,2C] of the cross-attention layer at a place among the weights. */
export type CrossContext = (w: Weights, features: number) => Tensor;

/**
 * Transformer2DModel: norm, projection, `layers` blocks, projection, residual. x [N,H,W,C] → [B,H,W,C]: where there are
 * more texts than images, N divides B.
 */
export function transformer2d(
  g: Graph,
  w: Weights,
  x: Tensor,
  {
    heads,
    layers,
    groups,
    context,
  }: { heads: number; layers: number; groups: number; context: CrossContext },
): Tensor {
  const C = x.shape[3]!;
  // A 1x1 convolution and a linear layer are one thing here; checkpoints have either.
  let h = asTokens(g, groupNorm(g, w.at('norm'), x, { groups, eps: 1e-6 }));
  h = linear(g, w.at('proj_in'), h, C);
  for (let i = 0; i < layers; i++) h = transformerBlock(g, w.at('transformer_blocks', i), h, heads, context);
  const residual = repeatTo(g, w.path, x, h.shape[0]!);
  return g.reshape(linear(g, w.at('proj_out'), h, C, { residual: asTokens(g, residual) }), residual.shape);
}

/**
 * BasicTransformerBlock: self-attention, cross-attention, gated feed-forward; each normalised and residual. An image is
 * repeated for its texts where the first of them comes in.
 */
function transformerBlock(g: Graph, w: Weights, x: Tensor, heads: number, context: CrossContext): Tensor {
  const C = x.shape[2]!;
  const [attn1, attn2, ff] = [w.at('attn1'), w.at('attn2'), w.at('ff', 'net')];
  let h = layerNorm(g, w.at('norm1'), x);
  h = packedLinear(g, attn1, ['to_q', 'to_k', 'to_v'], h, C, { bias: false });
  h = attention(g, attn1, h, { heads });
  x = linear(g, attn1.at('to_out', 0), h, C, { residual: x });

  h = layerNorm(g, w.at('norm2'), x);
  h = linear(g, attn2.at('to_q'), h, C, { bias: false });
  const kv = context(attn2, C);
  const rows = kv.shape[0]!;
  h = attention(g, attn2, repeatTo(g, attn2.path, h, rows), { heads, kv });
  x = repeatTo(g, w.path, x, rows);
  x = linear(g, attn2.at('to_out', 0), h, C, { residual: x });

  h = layerNorm(g, w.at('norm3'), x);
  h = linear(g, ff.at(0, 'proj'), h, 4 * C, { activation: 'geglu' });
  return linear(g, ff.at(2), h, C, { residual: x });
}
