import { type Generator, seedBits } from './generator.ts';
import { Mt19937 } from './mt19937.ts';
import { boxMuller16 } from './normal.ts';

/**
 * torch's CPU generator: `new TorchGenerator(seed).randn(n)` is `torch.randn(n, generator=g)` for
 * `g = torch.Generator().manual_seed(seed)` in float32, bit for bit on a CPU with AVX2 (where torch evaluates the
 * logarithm, sine and cosine by the polynomials of `normal.ts`; elsewhere it may differ in the last bit).
 *
 * Of the seed only the low 32 bits count, as in torch: 5 and 2³² + 5 give the same numbers.
 * Source: aten/src/ATen/native/cpu/DistributionTemplates.h and ATen/core/DistributionsHelper.h of pytorch.
 */
export class TorchGenerator implements Generator {
  private readonly engine: Mt19937;
  /** The second normal of a pair, kept for the next draw of fewer than 16. */
  private spare: number | undefined;

  /** @throws RangeError when the seed is not a whole number of 64 bits. */
  constructor(seed: number | bigint) {
    this.engine = new Mt19937(Number(seedBits(seed) & 0xffffffffn));
  }

  randn(n: number): Float32Array<ArrayBuffer> {
    const out = new Float32Array(n);
    if (n < 16) {
      for (let i = 0; i < n; i++) out[i] = this.normal();
      return out;
    }
    for (let i = 0; i < n; i++) out[i] = this.uniform24();
    for (let i = 0; i + 16 <= n; i += 16) boxMuller16(out, i);
    if (n % 16 !== 0) {
      // The last 16 overlap the chunk before them and are drawn anew.
      for (let i = n - 16; i < n; i++) out[i] = this.uniform24();
      boxMuller16(out, n - 16);
    }
    return out;
  }

  /** One normal in double precision; pairs share a Box-Muller transform. */
  private normal(): number {
    if (this.spare !== undefined) {
      const spare = this.spare;
      this.spare = undefined;
      return spare;
    }
    const theta = 2 * Math.PI * this.uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-this.uniform53()));
    this.spare = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }

  /** [0, 1) in steps of 2⁻²⁴. */
  private uniform24(): number {
    return (this.engine.next() & 0xffffff) * 2 ** -24;
  }

  /** [0, 1) in steps of 2⁻⁵³: the low 53 bits of two words, high word first. */
  private uniform53(): number {
    const high = this.engine.next() & 0x1fffff;
    return (high * 2 ** 32 + this.engine.next()) * 2 ** -53;
  }
}
