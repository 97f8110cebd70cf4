import { modelHash } from '../../checkpoints/hash.ts';
import { type Component, planControlContext, planHint } from '../../models/components.ts';
import type { ControlNetConfig } from '../../models/controlnet-config.ts';
import type { NativeDevice, NativeTensor } from '../../native.ts';
import type { ContextInputs } from '../denoiser.ts';
import { Programs, programPool } from '../programs.ts';

let loaded = 0;

/** A ControlNet on a device: arXiv:2302.05543. What it computes in a step is part of a U-Net's plan, `Denoiser`'s. */
export class ControlNet {
  /** Of all that are loaded, also of one path one after the other. */
  readonly id = ++loaded;
  readonly component: Component<ControlNetConfig>;
  readonly programs: Programs;
  /** SHA-256 of its tensors, hexadecimal; empty where its files could not be read again. */
  readonly hash: Promise<string>;
  readonly #leaving = new Set<() => Promise<void>>();

  private constructor(component: Component<ControlNetConfig>, programs: Programs) {
    this.component = component;
    this.programs = programs;
    this.hash = modelHash({ controlnet: component.sources }).catch(() => '');
  }

  /** @throws CheckpointError for weights that cannot be used. */
  static async load(component: Component<ControlNetConfig>, device: NativeDevice): Promise<ControlNet> {
    const { sources, dir } = component;
    const programs = await Programs.load(device, sources, { name: 'controlnet', dir }, programPool());
    return new ControlNet(component, programs);
  }

  get config(): ControlNetConfig {
    return this.component.config;
  }

  /** A picture [3,H,W], 0…1 → the embedded hint, [1,h,w,C]. To be disposed of. */
  async hint(picture: Float32Array, size: { height: number; width: number }): Promise<NativeTensor> {
    const { height, width } = size;
    const outputs = await this.programs.run(
      `hint 1x${height}x${width}`,
      () => planHint({ controlnet: this.component }, { batch: 1, height, width }),
      { controlnet_cond: picture },
      { keep: ['hint'] },
    );
    return outputs.hint as NativeTensor;
  }

  /** Of one text: keys and values of its cross-attention and, in Stable Diffusion XL, add_embedding. To be disposed of. */
  async context(inputs: ContextInputs): Promise<Record<string, NativeTensor>> {
    const { cross_attention_dim, added } = this.config;
    const tokens = inputs.encoder_hidden_states.length / cross_attention_dim;
    const timeIds = added && inputs.time_ids ? inputs.time_ids.length : undefined;
    const plan = planControlContext(
      { controlnet: this.component },
      { batch: 1, tokens, ...(timeIds && { timeIds }) },
    );
    // Of one that pays the text no attention.
    if (plan.outputs.length === 0) return {};
    const given = inputs as unknown as Record<string, Float32Array>;
    const outputs = await this.programs.run(
      `context 1x${tokens}`,
      () => plan,
      Object.fromEntries(plan.inputs.map(({ name }) => [name, given[name]!])),
      { keep: plan.outputs.map(({ name }) => name) },
    );
    return outputs as Record<string, NativeTensor>;
  }

  /**
   * Has `leave` called before its weights go: what shares them has to go first.
   * @returns what takes that back.
   */
  onDispose(leave: () => Promise<void>): () => void {
    this.#leaving.add(leave);
    return () => this.#leaving.delete(leave);
  }

  /** Frees everything on the device, after the runs in flight. */
  async dispose(): Promise<void> {
    await Promise.all([...this.#leaving].map((leave) => leave()));
    await this.programs.dispose();
  }
}
