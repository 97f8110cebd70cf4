import { type Component, planTaesdDecode } from '../../models/components.ts';
import { type TaesdConfig, taesdScale } from '../../models/taesd.ts';
import type { NativeDevice } from '../../native.ts';
import { type PlanCost, planCost } from '../admission/plan-cost.ts';
import type { LatentSize } from '../autoencoder.ts';
import { Programs, programPool } from '../programs.ts';
import type { Decoded, Decoder } from './decoder.ts';

function decoding(
  config: TaesdConfig,
  { height, width }: LatentSize,
): [key: string, plan: () => ReturnType<typeof planTaesdDecode>] {
  const taesd = { config };
  return [`decode 1x${height}x${width}`, () => planTaesdDecode({ taesd }, { batch: 1, height, width })];
}

/** What it takes to decode latents of that size. */
export function tinyDecodingCost({ config }: Component<TaesdConfig>, size: LatentSize): PlanCost {
  return planCost(config, decoding(config, size));
}

/** The decoder of an AutoencoderTiny on a device: a fraction of the arithmetic, and a little of the detail lost. */
export class TinyDecoder implements Decoder {
  readonly channels: number;
  readonly scale: number;
  readonly #config: TaesdConfig;
  readonly #programs: Programs;

  private constructor(config: TaesdConfig, programs: Programs) {
    this.channels = config.latent_channels;
    this.scale = taesdScale(config);
    this.#config = config;
    this.#programs = programs;
  }

  /** @throws CheckpointError for weights that cannot be used. */
  static async load({ config, sources, dir }: Component<TaesdConfig>, device: NativeDevice) {
    const part = { name: 'taesd', dir };
    return new TinyDecoder(config, await Programs.load(device, sources, part, programPool()));
  }

  async decode(latents: Float32Array, size: LatentSize): Promise<Decoded> {
    const scaled = latents.map((z) => z / this.#config.scaling_factor);
    const { outputs, isRepeated } = await this.#programs.runFinite(...decoding(this.#config, size), {
      latents: scaled,
    });
    return { image: outputs.image!, isRepeated };
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }
}
