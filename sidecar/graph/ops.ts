import type { Attr } from './plan.ts';
import { complete, elements, mismatch, type Shaped, type Signature, type Sizes } from './signature.ts';

/** Shapes to test an op with, on every device. `also`: optional tensors whose shapes follow from the others. */
export interface OpCase {
  tensors: Record<string, number[]>;
  attrs?: Record<string, Attr>;
  also?: string[];
}

/** One op: what it takes and gives, what it costs, what it is tested with. */
export interface OpRow extends Signature {
  /** Floating-point operations, 2 for each multiply-add of the products; 0 where bandwidth is the bound. */
  flops?: (sizes: Sizes, output: number[]) => number;
  cases: OpCase[];
}

const one = [1, 1, 1, 1];
const none = [0, 0, 0, 0];
const conv = (x: number[], weight: number[], attrs: Record<string, Attr> = {}, also = ['bias']): OpCase => ({
  tensors: { x, weight },
  attrs: { stride: 1, padding: weight[2] === 1 ? none : one, ...attrs },
  also,
});
const linear = (x: number[], weight: number[], activation = 'none', also = ['bias']): OpCase => ({
  tensors: { x, weight },
  attrs: { activation },
  also,
});
const norm = (x: number[], groups: number, silu: boolean, channels = x.at(-1)!): OpCase => ({
  tensors: { x, weight: [channels], bias: [channels] },
  attrs: { groups, eps: 1e-5, silu },
  also: channels === x.at(-1) ? [] : ['x2'],
});
const zero = (x: number[], O: number, levels: number, level: number, also = ['onto']): OpCase => ({
  tensors: { x, scale: [levels, x[0]!], weight: [O, x[3]!], bias: [O] },
  attrs: { level },
  also,
});
const embed = (tensors: Record<string, number[]>): OpCase => ({ tensors });
const attend = (T: number, heads: number, head_size: number, causal = false): OpCase => ({
  tensors: { q: [2, T, 3 * heads * head_size] },
  attrs: { heads, head_size, causal },
});
const cross = (T: number, S: number, heads: number, head_size: number): OpCase => ({
  tensors: { q: [2, T, heads * head_size], kv: [2, S, 2 * heads * head_size] },
  attrs: { heads, head_size, causal: false },
});

const table = {
  to_nhwc: {
    inputs: { x: '[N,C,H,W]' },
    output: '[N,H,W,C]',
    cases: [
      [2, 4, 8, 8],
      [1, 3, 9, 7],
      [3, 1, 1, 5],
    ].map((x) => ({ tensors: { x } })),
  },

  /** `channels` [from, to): those alone. */
  to_nchw: {
    inputs: { x: '[N,H,W,C]' },
    attrs: { 'channels?': 'int[2]' },
    derive: ({ C }, { channels }) => ({
      K: channels ? (channels as number[])[1]! - (channels as number[])[0]! : C!,
    }),
    output: '[N,K,H,W]',
    cases: [
      { tensors: { x: [2, 8, 8, 4] } },
      { tensors: { x: [1, 9, 7, 3] } },
      { tensors: { x: [2, 4, 5, 8] }, attrs: { channels: [0, 4] } },
      { tensors: { x: [2, 4, 5, 8] }, attrs: { channels: [4, 8] } },
    ],
  },

  /** weight[ids] + position: token and position embeddings. Ids from V on are rows of `learned`. */
  embedding: {
    inputs: { ids: 'i32[B,T]', 'learned?': '[E,C]' },
    weights: { weight: '[V,C]', position: '[P,C]' },
    derive: ({ T, P }): Sizes => (T! > P! ? mismatch(`at most ${P} tokens`, T) : {}),
    output: '[B,T,C]',
    cases: [
      embed({ ids: [2, 77], weight: [500, 768], position: [77, 768] }),
      embed({ ids: [1, 5], weight: [7, 33], position: [9, 33] }),
      embed({ ids: [2, 31], learned: [6, 40], weight: [5, 40], position: [31, 40] }),
    ],
  },

  /** Sinusoids of a timestep: arXiv:2006.11239, section 3.3, in the order and spacing the attributes say. */
  timestep_embedding: {
    inputs: { t: '[B]' },
    attrs: { dim: 'int', flip_sin_to_cos: 'boolean', freq_shift: 'number', max_period: 'number' },
    derive: (_, { dim }) => ({ D: dim as number }),
    output: '[B,D]',
    cases: [
      { tensors: { t: [2] }, attrs: { dim: 320, flip_sin_to_cos: true, freq_shift: 0, max_period: 10000 } },
      { tensors: { t: [1] }, attrs: { dim: 33, flip_sin_to_cos: false, freq_shift: 1, max_period: 10000 } },
    ],
  },

  activation: {
    inputs: { x: '[..,C]' },
    attrs: { fn: 'silu|gelu|quick_gelu|relu|tanh' },
    output: '[..,C]',
    cases: ['silu', 'gelu', 'quick_gelu', 'relu', 'tanh'].flatMap((fn) => [
      { tensors: { x: [2, 3, 37] }, attrs: { fn } },
      { tensors: { x: [1, 65, 64, 5] }, attrs: { fn } },
    ]),
  },

  /** y = scale·x + shift: from one range of values to another. */
  affine: {
    inputs: { x: '[..,C]' },
    attrs: { scale: 'number', shift: 'number' },
    output: '[..,C]',
    cases: [
      { tensors: { x: [2, 3, 37] }, attrs: { scale: 0.5, shift: 0.5 } },
      { tensors: { x: [1, 65, 64, 5] }, attrs: { scale: 2, shift: -1 } },
    ],
  },

  /** Each image side by side with its copies: y[i·times + j] = x[i]. */
  repeat: {
    inputs: { x: '[N,..,C]' },
    attrs: { times: 'int' },
    derive: ({ N }, { times }) => ({ M: N! * (times as number) }),
    output: '[M,..,C]',
    cases: [
      { tensors: { x: [2, 8, 8, 320] }, attrs: { times: 2 } },
      { tensors: { x: [1, 1280] }, attrs: { times: 3 } },
      { tensors: { x: [3, 5, 7] }, attrs: { times: 2 } },
      { tensors: { x: [1, 64, 64, 9] }, attrs: { times: 2 } },
    ],
  },

  /** Each vector's nearest row of the codebook, the first of equals: arXiv:1711.00937, section 3.1. */
  quantize: {
    inputs: { x: '[..,C]' },
    weights: { codebook: '[V,C]' },
    output: '[..,C]',
    flops: ({ rows, V, C }) => 3 * rows! * V! * C!,
    cases: [
      { tensors: { x: [2, 5, 7, 3], codebook: [256, 3] } },
      { tensors: { x: [1, 16, 16, 4], codebook: [1000, 4] } },
      { tensors: { x: [1, 9, 33], codebook: [37, 33] } },
      { tensors: { x: [1, 3, 2], codebook: [1, 2] } },
    ],
  },

  /** y = activation(x·weightᵀ + bias) + residual. geglu: the weight's first rows are values, the rest gates. */
  linear: {
    inputs: { x: '[..,K]', 'residual?': '[..,O]' },
    weights: { weight: '[N,K]', 'bias?': '[N]' },
    attrs: { 'activation?': 'none|silu|gelu|quick_gelu|geglu' },
    derive: ({ N }, { activation }) => ({ O: activation === 'geglu' ? N! / 2 : N! }),
    output: '[..,O]',
    flops: ({ rows, K, N }) => 2 * rows! * K! * N!,
    cases: [
      linear([2, 9, 320], [960, 320], 'none', []),
      linear([1, 5, 320], [2560, 320], 'geglu'),
      linear([1, 5, 1280], [320, 1280], 'none', ['bias', 'residual']),
      linear([1, 6, 5, 320], [320, 320], 'none', ['bias', 'residual']),
      linear([2, 320], [1280, 320], 'silu'),
      linear([1, 7, 768], [768, 768], 'quick_gelu'),
      linear([1, 7, 1024], [256, 1024], 'gelu'),
      linear([1, 77, 768], [80, 768], 'none', []),
      linear([1, 1], [1, 1]),
      linear([3, 7], [5, 7]),
      linear([1, 33, 17], [34, 17], 'geglu', ['bias', 'residual']),
      linear([2, 3, 24], [19, 24], 'silu', ['residual']),
      linear([1, 65, 100], [70, 100], 'geglu', []),
      linear([131, 3], [129, 3]),
      linear([2, 77, 768], [768, 768]),
      linear([1, 256, 640], [640, 640], 'geglu'),
    ],
  },

  /**
   * y = conv(upsample?(x ⊕ x2)) + bias + temb + residual; ⊕ joins channels. padding [top, left, bottom, right];
   * upsample [H', W']: nearest, to twice the input's size or one less.
   */
  conv2d: {
    inputs: { x: '[N,H,W,C1]', 'x2?': '[N,H,W,C2]', 'temb?': '[N,Cout]', 'residual?': '[N,Ho,Wo,Cout]' },
    weights: { weight: '[Cout,C,kh,kw]', 'bias?': '[Cout]' },
    attrs: { stride: 'int', padding: 'int[4]', 'upsample?': 'int[2]' },
    derive: ({ H, W, C, C1, kh, kw }, { stride, padding, upsample }, has) => {
      const [top, left, bottom, right] = padding as [number, number, number, number];
      const [h, w] = (upsample ?? [H!, W!]) as [number, number];
      const out = (size: number, kernel: number) => Math.floor((size - kernel) / (stride as number)) + 1;
      return {
        // Halves of the resized input, so that upsampling to any other size fails to match x.
        ...(upsample ? { H: Math.ceil(h / 2), W: Math.ceil(w / 2) } : {}),
        ...(has('x2') ? { C2: C! - C1! } : { C1: C! }),
        Ho: out(h + top + bottom, kh!),
        Wo: out(w + left + right, kw!),
      };
    },
    output: '[N,Ho,Wo,Cout]',
    flops: ({ C, kh, kw }, output) => 2 * elements(output) * C! * kh! * kw!,
    cases: [
      conv([1, 8, 8, 4], [320, 4, 3, 3]),
      conv([2, 4, 3, 320], [320, 320, 3, 3], {}, ['bias', 'temb', 'residual']),
      conv([1, 2, 2, 640], [640, 960, 3, 3], {}, ['bias', 'x2', 'temb']),
      conv([1, 3, 2, 1280], [640, 1920, 1, 1], {}, ['bias', 'x2']),
      conv([2, 5, 3, 20], [24, 33, 3, 3], {}, ['bias', 'x2', 'temb', 'residual']),
      conv([1, 7, 5, 40], [56, 72, 1, 1], {}, ['x2']),
      conv([1, 8, 8, 32], [48, 32, 3, 3], { stride: 2 }),
      conv([2, 9, 7, 32], [40, 32, 3, 3], { stride: 2 }, ['bias', 'residual']),
      conv([1, 8, 8, 32], [32, 32, 3, 3], { stride: 2, padding: [0, 0, 1, 1] }),
      conv([2, 9, 7, 16], [24, 16, 3, 3], { stride: 2, padding: [0, 0, 1, 1] }),
      conv([2, 4, 4, 64], [64, 64, 3, 3], { upsample: [8, 8] }),
      conv([1, 4, 4, 32], [32, 32, 3, 3], { upsample: [7, 7] }),
      conv([2, 5, 3, 24], [17, 24, 3, 3], { upsample: [10, 5] }),
      conv([1, 1, 1, 32], [32, 32, 3, 3], { upsample: [1, 2] }),
      conv([1, 1, 1, 32], [40, 32, 3, 3]),
      conv([1, 1, 1, 64], [48, 64, 3, 3], { stride: 2 }),
      conv([2, 5, 7, 7], [13, 7, 3, 3], {}, []),
      conv([1, 4, 4, 1], [1, 1, 3, 3]),
      conv([1, 9, 9, 128], [3, 128, 3, 3]),
      conv([1, 33, 31, 16], [24, 16, 3, 3]),
      conv([2, 16, 16, 320], [320, 320, 3, 3], {}, ['bias', 'temb', 'residual']),
      conv([1, 8, 8, 640], [640, 960, 3, 3], {}, ['bias', 'x2']),
      conv([1, 16, 16, 128], [128, 128, 3, 3], { upsample: [32, 31] }),
      conv([2, 6, 6, 9], [16, 9, 5, 5], { padding: [2, 2, 2, 2] }),
      conv([2, 3, 5, 8], [8, 8, 1, 1]),
    ],
  },

  /**
   * y = onto + scale[level]·(x·weightᵀ + bias): a 1×1 convolution that starts at zero, times a factor for each image,
   * on top of a skip connection; arXiv:2302.05543, section 3.1. Where the factor is 0, y is onto bit for bit.
   */
  zero_conv: {
    inputs: { x: '[N,H,W,C]', scale: '[R,N]', 'onto?': '[N,H,W,O]' },
    weights: { weight: '[O,C]', bias: '[O]' },
    attrs: { level: 'int' },
    derive: ({ R }, { level }): Sizes =>
      (level as number) < 0 || (level as number) >= R! ? mismatch(`a level below ${R}`, level) : {},
    output: '[N,H,W,O]',
    flops: ({ C }, output) => 2 * elements(output) * C!,
    cases: [
      zero([2, 8, 8, 320], 320, 13, 0),
      zero([2, 4, 4, 1280], 1280, 13, 12),
      zero([1, 16, 16, 640], 640, 10, 6),
      zero([3, 5, 3, 33], 19, 2, 1),
      zero([2, 1, 1, 7], 5, 1, 0),
      zero([1, 9, 7, 64], 64, 3, 1, []),
      zero([2, 16, 17, 300], 70, 4, 2, []),
    ],
  },

  /** Statistics over all positions of each image and group of channels; arXiv:1803.08494. x2's channels follow x's. */
  group_norm: {
    inputs: { x: '[N,..,C1]', 'x2?': '[N,..,C2]' },
    weights: { weight: '[C]', bias: '[C]' },
    attrs: { groups: 'int', eps: 'number', silu: 'boolean' },
    derive: ({ C, C1 }, { groups }, has): Sizes => {
      if (C! % (groups as number)) mismatch(`channels in ${groups} groups`, C);
      return has('x2') ? { C2: C! - C1! } : { C1: C! };
    },
    output: '[N,..,C]',
    cases: [
      norm([2, 16, 16, 320], 32, true),
      norm([2, 8, 8, 640], 32, true, 960),
      norm([1, 4, 4, 1280], 32, true, 1920),
      norm([1, 12, 12, 128], 32, false),
      norm([2, 5, 3, 20], 3, false, 33),
      norm([1, 3, 3, 31], 2, true, 32),
      norm([1, 1, 1, 32], 8, false),
      norm([1, 9, 64], 32, false),
      norm([2, 7, 3, 5], 1, true),
      norm([1, 64, 65, 32], 32, true),
      norm([1, 20, 20, 64], 4, true, 96),
      norm([2, 48, 40, 24], 2, true, 40),
      norm([1, 64, 65, 32], 1, false),
      norm([1, 50, 515], 1, true),
      norm([2, 40, 41, 7], 1, true, 33),
    ],
  },

  layer_norm: {
    inputs: { x: '[..,C]' },
    weights: { weight: '[C]', bias: '[C]' },
    attrs: { eps: 'number' },
    output: '[..,C]',
    cases: [
      [2, 7, 768],
      [2, 64, 320],
      [1, 1, 1280],
      [3, 5, 33],
      [2, 2],
    ].map((x) => ({
      tensors: { x, weight: [x.at(-1)!], bias: [x.at(-1)!] },
      attrs: { eps: 1e-5 },
    })),
  },

  /** softmax(scale·q·kᵀ)·v for each head. Without kv, q holds q, k and v; kv holds k and v. */
  attention: {
    inputs: { q: '[B,T,Q]', 'kv?': '[B,S,KV]' },
    attrs: { heads: 'int', head_size: 'int', 'causal?': 'boolean', 'scale?': 'number' },
    derive: ({ T }, { heads, head_size }, has): Sizes => {
      const C = (heads as number) * (head_size as number);
      return has('kv') ? { C, Q: C, KV: 2 * C } : { C, Q: 3 * C, S: T! };
    },
    output: '[B,T,C]',
    flops: ({ B, T, S, C }) => 4 * B! * T! * S! * C!,
    cases: [
      attend(64, 8, 40),
      attend(25, 8, 80),
      attend(16, 8, 160),
      attend(70, 5, 64),
      attend(36, 1, 512),
      attend(300, 2, 8),
      attend(1024, 2, 40),
      attend(256, 1, 512),
      attend(129, 3, 16),
      attend(33, 2, 32),
      attend(1, 8, 40),
      attend(7, 3, 5),
      attend(77, 4, 64, true),
      attend(33, 2, 16, true),
      attend(1, 2, 8, true),
      attend(50, 1, 40),
      attend(100, 1, 80),
      attend(200, 1, 160, true),
      attend(100, 1, 200, true),
      cross(64, 77, 8, 40),
      cross(9, 77, 8, 160),
      cross(1, 77, 4, 8),
      cross(20, 154, 2, 64),
      cross(5, 1, 2, 32),
      // Scores far apart: the highest changes by much from key to key.
      { ...cross(150, 154, 2, 80), attrs: { heads: 2, head_size: 80, causal: false, scale: 1.5 } },
      { ...cross(30, 300, 1, 512), attrs: { heads: 1, head_size: 512, causal: false, scale: 0.5 } },
      { ...cross(6, 11, 2, 12), attrs: { heads: 2, head_size: 12, causal: false, scale: 0.5 } },
    ],
  },
} satisfies Record<string, OpRow>;

export type OpName = keyof typeof table;

/** The ops a plan is made of. A kernel's file, its entry point and its row here have one name. */
export const ops: Record<OpName, OpRow> = table;

/** A case's tensors with the optional ones worked out: shapes of inputs and of weights. */
export function expandCase(op: OpName, { tensors, attrs = {}, also = [] }: OpCase) {
  const row = ops[op];
  const given: Record<string, Shaped> = Object.fromEntries(
    Object.entries(tensors).map(([name, shape]) => [name, { shape }]),
  );
  const all = { ...tensors, ...complete(row, given, attrs, also) };
  const isWeight = (name: string) => name in (row.weights ?? {}) || `${name}?` in (row.weights ?? {});
  const pick = (weights: boolean) =>
    Object.fromEntries(Object.entries(all).filter(([name]) => isWeight(name) === weights)) as Record<
      string,
      number[]
    >;
  return { inputs: pick(false), weights: pick(true), attrs };
}
