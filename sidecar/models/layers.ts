import { type Graph, joined, type Tensor, type Weights } from '../graph/builder.ts';
import { elements } from '../graph/signature.ts';

// What models are written in: each function adds one op, and names its parameters as torch's modules do.
// Activations are [N,H,W,C] or [B,T,C]; channels are always last.

export interface LinearOptions {
  bias?: boolean;
  activation?: 'silu' | 'gelu' | 'quick_gelu' | 'geglu';
  /** Added after the activation. */
  residual?: Tensor;
}

/** x [..,K] → [..,features]; for geglu the layer is twice as wide, its gates after its values. */
export function linear(
  g: Graph,
  w: Weights,
  x: Tensor,
  features: number,
  options: LinearOptions = {},
): Tensor {
  const { bias = true, activation, residual } = options;
  const rows = activation === 'geglu' ? 2 * features : features;
  const weights = {
    weight: w.param('weight', [rows, x.shape.at(-1)!]),
    bias: bias ? w.param('bias', [rows]) : undefined,
  };
  return g.op('linear', w.path, { x, residual }, weights, { activation: activation ?? 'none' });
}

/** Several linear layers of one input as one: x [..,K] → [..,names·features], in the order of the names. */
export function packedLinear(
  g: Graph,
  w: Weights,
  names: readonly string[],
  x: Tensor,
  features: number,
  { bias }: { bias: boolean },
): Tensor {
  const parts = names.map((name) => w.at(name));
  const weights = {
    weight: joined(parts.map((part) => part.param('weight', [features, x.shape.at(-1)!]))),
    bias: bias ? joined(parts.map((part) => part.param('bias', [features]))) : undefined,
  };
  return g.op('linear', w.at(`{${names.join(',')}}`).path, { x }, weights, { activation: 'none' });
}

export interface ConvOptions {
  bias?: boolean;
  kernel?: number;
  stride?: number;
  /** [top, left, bottom, right]; default: what keeps the size at stride 1. */
  padding?: number[];
  /** Channels joined after those of x: a skip connection. */
  x2?: Tensor;
  /** [N,features], added to every pixel. */
  temb?: Tensor;
  residual?: Tensor;
  /** Resize x to this [H', W'] first (nearest): twice its size or one less. */
  upsample?: number[];
}

/** x [N,H,W,C] → [N,H',W',features]. */
export function conv2d(g: Graph, w: Weights, x: Tensor, features: number, options: ConvOptions = {}): Tensor {
  const { bias = true, kernel = 3, stride = 1, x2, temb, residual, upsample } = options;
  const padding = options.padding ?? new Array<number>(4).fill((kernel - 1) / 2);
  const weights = {
    weight: w.param('weight', [features, channels(x, x2), kernel, kernel]),
    bias: bias ? w.param('bias', [features]) : undefined,
  };
  return g.op('conv2d', w.path, { x, x2, temb, residual }, weights, { stride, padding, upsample });
}

/**
 * onto + scale[level]·conv1x1(x): x [N,H,W,C], scale [R,N] → [N,H,W,C]. Without `onto` the product alone.
 * arXiv:2302.05543, section 3.1.
 */
export function zeroConv(
  g: Graph,
  w: Weights,
  x: Tensor,
  { scale, level, onto }: { scale: Tensor; level: number; onto?: Tensor },
): Tensor {
  const C = x.shape[3]!;
  const weights = { weight: w.param('weight', [C, C]), bias: w.param('bias', [C]) };
  return g.op('zero_conv', w.path, { x, scale, onto }, weights, { level });
}

/** x [N,..,C], or x and x2 joined → the same. */
export function groupNorm(
  g: Graph,
  w: Weights,
  x: Tensor,
  { groups, eps, silu = false, x2 }: { groups: number; eps: number; silu?: boolean; x2?: Tensor },
): Tensor {
  const C = channels(x, x2);
  const weights = { weight: w.param('weight', [C]), bias: w.param('bias', [C]) };
  return g.op('group_norm', w.path, { x, x2 }, weights, { groups, eps, silu });
}

/** x [..,C] → the same. */
export function layerNorm(g: Graph, w: Weights, x: Tensor, eps = 1e-5): Tensor {
  const C = x.shape.at(-1)!;
  return g.op(
    'layer_norm',
    w.path,
    { x },
    { weight: w.param('weight', [C]), bias: w.param('bias', [C]) },
    { eps },
  );
}

/** x → the same, element by element. */
export function activation(g: Graph, scope: string, x: Tensor, fn: 'silu' | 'relu' | 'tanh'): Tensor {
  return g.op('activation', scope, { x }, {}, { fn });
}

/** scale·x + shift, element by element. */
export function affine(
  g: Graph,
  scope: string,
  x: Tensor,
  { scale, shift }: { scale: number; shift: number },
): Tensor {
  return g.op('affine', scope, { x }, {}, { scale, shift });
}

/** x [..,C] → for each vector the nearest of `entries` rows of the codebook. */
export function quantize(g: Graph, w: Weights, x: Tensor, entries: number): Tensor {
  return g.op('quantize', w.path, { x }, { codebook: w.param('weight', [entries, x.shape.at(-1)!]) });
}

/** qkv [B,T,3C] packed, or q [B,T,C] with kv [B,S,2C] → [B,T,C]. */
export function attention(
  g: Graph,
  w: Weights,
  q: Tensor,
  { heads, kv, causal = false }: { heads: number; kv?: Tensor; causal?: boolean },
): Tensor {
  const C = q.shape.at(-1)! / (kv ? 1 : 3);
  if (C % heads !== 0)
    throw new Error(`Expected channels in ${heads} heads but received ${C}, in attention at ${w.path}`);
  return g.op('attention', w.path, { q, kv }, {}, { heads, head_size: C / heads, causal });
}

/** x [n,..,C] → [rows,..,C], each image side by side with its copies; x itself where it has as many. */
export function repeatTo(g: Graph, scope: string, x: Tensor, rows: number): Tensor {
  const times = rows / x.shape[0]!;
  return times === 1 ? x : g.op('repeat', scope, { x }, {}, { times });
}

export function toNHWC(g: Graph, x: Tensor): Tensor {
  return g.op('to_nhwc', 'input', { x });
}

/** `range` [from, to): those channels alone. */
export function toNCHW(g: Graph, x: Tensor, range?: number[]): Tensor {
  return g.op('to_nchw', 'output', { x }, {}, { channels: range });
}

/** [N,H,W,C] seen as tokens [N,H·W,C]. */
export function asTokens(g: Graph, x: Tensor): Tensor {
  const [N, C] = [x.shape[0]!, x.shape.at(-1)!];
  return g.reshape(x, [N, elements(x.shape) / (N * C), C]);
}

function channels(x: Tensor, x2?: Tensor): number {
  return x.shape.at(-1)! + (x2?.shape.at(-1) ?? 0);
}
