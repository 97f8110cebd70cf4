import type { Plan } from '../graph/plan.ts';
import type { AutoencoderShape } from '../models/autoencoder.ts';
import { type AnyCheckpoint, planVaeDecode, planVaeEncode, planVqDecode } from '../models/components.ts';
import { vaeScale } from '../models/vae.ts';
import { vqScale } from '../models/vq.ts';
import { type PlanCost, planCost } from './admission/plan-cost.ts';
import type { Decoded, Decoder } from './decoders/decoder.ts';
import type { Programs } from './programs.ts';

/** Height and width of latents. */
export interface LatentSize {
  height: number;
  width: number;
}

type Planning = [key: string, plan: () => Plan];

function decoding(checkpoint: AnyCheckpoint, { height, width }: LatentSize): Planning {
  const shape: AutoencoderShape = { batch: 1, height, width };
  return [
    `decode 1x${height}x${width}`,
    () =>
      checkpoint.kind === 'unconditional'
        ? planVqDecode(checkpoint, shape)
        : planVaeDecode(checkpoint, shape),
  ];
}

function encoding(checkpoint: AnyCheckpoint, size: LatentSize): Planning {
  if (checkpoint.kind === 'unconditional') throw new Error('This model encodes no images');
  const scale = vaeScale(checkpoint.vae.config);
  const [height, width] = [size.height * scale, size.width * scale];
  return [`encode 1x${height}x${width}`, () => planVaeEncode(checkpoint, { batch: 1, height, width })];
}

/** What it takes to decode latents of that size. */
export function decodingCost(checkpoint: AnyCheckpoint, size: LatentSize): PlanCost {
  return planCost(autoencoderOf(checkpoint), decoding(checkpoint, size));
}

/** What it takes to encode an image to latents of that size. */
export function encodingCost(checkpoint: AnyCheckpoint, size: LatentSize): PlanCost {
  return planCost(autoencoderOf(checkpoint), encoding(checkpoint, size));
}

function autoencoderOf(checkpoint: AnyCheckpoint): object {
  return checkpoint.kind === 'unconditional' ? checkpoint.vqvae : checkpoint.vae;
}

/** What an image's latents are drawn from: a Gaussian for each of them, [C,h,w]. */
export interface Posterior {
  mean: Float32Array;
  /** Standard deviations. */
  std: Float32Array;
}

/** Between images [3,H,W], −1…1, and latents [C,h,w] as a U-Net has them: scaled to about unit variance. */
export class Autoencoder implements Decoder {
  /** C */
  readonly channels: number;
  /** How many pixels a latent stands for, in each direction. */
  readonly scale: number;
  readonly #scaling: number;
  readonly #checkpoint: AnyCheckpoint;
  readonly #programs: Programs;
  /** Whether to compute in float32 although the device would not: as its config says, float16 overflows. */
  readonly #isWide: boolean;

  constructor(checkpoint: AnyCheckpoint, programs: Programs) {
    this.#checkpoint = checkpoint;
    this.#programs = programs;
    if (checkpoint.kind === 'unconditional') {
      const { config } = checkpoint.vqvae;
      this.channels = config.vq_embed_dim;
      this.scale = vqScale(config);
      this.#scaling = config.scaling_factor;
      this.#isWide = false;
    } else {
      const { config } = checkpoint.vae;
      this.channels = config.latent_channels;
      this.scale = vaeScale(config);
      this.#scaling = config.scaling_factor;
      // Only in Stable Diffusion XL does the reference look at it: elsewhere it is true by default, and says nothing.
      const overflows = checkpoint.kind === 'text-to-image-xl' && config.force_upcast === true;
      this.#isWide = overflows && programs.dtype === 'f16';
    }
  }

  /** Whether images can be encoded. */
  get encodes(): boolean {
    return this.#checkpoint.kind !== 'unconditional';
  }

  /** latents [C,h,w] → image [3,H,W], about −1…1. */
  async decode(latents: Float32Array, size: LatentSize): Promise<Decoded> {
    const scaled = latents.map((z) => z / this.#scaling);
    const { outputs, isRepeated } = await this.#programs.runFinite(
      ...decoding(this.#checkpoint, size),
      { latents: scaled },
      this.#isWide,
    );
    return { image: outputs.image!, isRepeated };
  }

  /** image [3,H,W], −1…1 → mean and deviation of its latents, [C,h,w]. `size` is that of the latents. */
  async encode(image: Float32Array, size: LatentSize): Promise<Posterior> {
    const { outputs } = await this.#programs.runFinite(
      ...encoding(this.#checkpoint, size),
      { image },
      this.#isWide,
    );
    const std = (v: number) => this.#scaling * Math.exp(0.5 * Math.min(20, Math.max(-30, v)));
    return {
      mean: outputs.mean!.map((x) => x * this.#scaling),
      std: outputs.logvar!.map(std),
    };
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }
}
