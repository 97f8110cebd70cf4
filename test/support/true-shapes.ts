import type { OpCase } from '../../sidecar/graph/ops.ts';

// Shapes of Stable Diffusion 1.5 and XL at their own sizes, as the U-Nets and autoencoders have them.

const conv = (x: number[], weight: number[], also: string[], attrs = {}): OpCase => ({
  tensors: { x, weight },
  attrs: { stride: 1, padding: [1, 1, 1, 1], ...attrs },
  also: ['bias', ...also],
});
const linear = (x: number[], weight: number[], activation: string, also: string[]): OpCase => ({
  tensors: { x, weight },
  attrs: { activation },
  also,
});
const norm = (x: number[], channels = x.at(-1)!): OpCase => ({
  tensors: { x, weight: [channels], bias: [channels] },
  attrs: { groups: 32, eps: 1e-5, silu: true },
  also: channels === x.at(-1) ? [] : ['x2'],
});
const self = (B: number, T: number, heads: number, head_size: number): OpCase => ({
  tensors: { q: [B, T, 3 * heads * head_size] },
  attrs: { heads, head_size, causal: false },
});
const cross = (B: number, T: number, heads: number, head_size: number): OpCase => ({
  tensors: { q: [B, T, heads * head_size], kv: [B, 77, 2 * heads * head_size] },
  attrs: { heads, head_size, causal: false },
});

export const trueShapes = {
  conv2d: [
    conv([2, 64, 64, 320], [320, 320, 3, 3], ['temb']),
    conv([2, 32, 32, 640], [640, 640, 3, 3], ['temb', 'residual']),
    conv([2, 16, 16, 1280], [1280, 2560, 3, 3], ['x2', 'temb']),
    conv([2, 8, 8, 1280], [1280, 1280, 3, 3], ['temb', 'residual']),
    conv([2, 64, 64, 320], [320, 320, 3, 3], [], { stride: 2 }),
    conv([2, 16, 16, 1280], [1280, 1280, 3, 3], [], { upsample: [32, 32] }),
    conv([2, 64, 64, 4], [320, 4, 3, 3], []),
    conv([2, 64, 64, 320], [4, 320, 3, 3], []),
    conv([1, 128, 128, 512], [512, 512, 3, 3], ['residual']),
    conv([1, 512, 512, 128], [3, 128, 3, 3], []),
  ],
  linear: [
    linear([2, 4096, 320], [960, 320], 'none', []),
    linear([2, 4096, 320], [2560, 320], 'geglu', ['bias']),
    linear([2, 1024, 2560], [640, 2560], 'none', ['bias', 'residual']),
    linear([2, 1024, 1280], [10240, 1280], 'geglu', ['bias']),
    linear([2, 1024, 5120], [1280, 5120], 'none', ['bias', 'residual']),
    linear([2, 77, 768], [3072, 768], 'quick_gelu', ['bias']),
    linear([2, 320], [1280, 320], 'silu', ['bias']),
  ],
  attention: [
    self(2, 4096, 8, 40),
    self(2, 1024, 8, 80),
    self(2, 256, 8, 160),
    self(2, 1024, 20, 64),
    self(1, 4096, 1, 512),
    cross(2, 4096, 8, 40),
    cross(2, 1024, 20, 64),
  ],
  group_norm: [norm([2, 64, 64, 320]), norm([2, 16, 16, 1280], 2560), norm([1, 512, 512, 128])],
} satisfies Record<string, OpCase[]>;
