import type { LatentSize } from '../autoencoder.ts';

/** What makes pictures of latents: a model's own autoencoder, or something cheaper. */
export interface Decoder {
  /** C */
  readonly channels: number;
  /** How many pixels a latent stands for, in each direction. */
  readonly scale: number;
  /** latents [C,h,w] as a U-Net has them → image [3,H,W], about −1…1. */
  decode(latents: Float32Array, size: LatentSize): Promise<Decoded>;
}

export interface Decoded {
  image: Float32Array;
  /** Whether half precision gave NaN or infinity, so that it was done again in float32. */
  isRepeated?: boolean;
}

/** The decoders of a run, where they are not its model's autoencoder. */
export interface Decoders {
  images?: Decoder | undefined;
  previews?: Decoder | undefined;
}
