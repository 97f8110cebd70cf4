import { hintScale, residualCount } from '../../models/controlnet-config.ts';
import type { NativeTensor } from '../../native.ts';
import type { Conditioning } from '../conditioning/index.ts';
import type { ControlInput } from '../denoiser.ts';
import type { AdmittedControl } from './admit.ts';
import type { ControlNet } from './controlnet.ts';
import { type Place, residualFactors } from './factors.ts';
import { hintPixels, type Part } from './hint.ts';

/** A ControlNet of a request, on the device. */
export interface Control {
  net: ControlNet;
  admitted: AdmittedControl;
  part?: Part | undefined;
  guessMode: boolean;
  /** Evaluations so far: one for each image and text that it saw. */
  evaluations: number;
}

/** A ControlNet that has a part in one evaluation. */
export interface ActiveControl {
  control: ControlInRun;
  /** Of its residuals. */
  factors: readonly number[];
}

/** Texts whose predictions are computed together, and the ControlNets that have a part in them. */
export interface TextGroup {
  texts: number[];
  controls: ActiveControl[];
}

/**
 * The ControlNets of one run: which have a part in an evaluation, and what they are given. The hint's embedding and
 * the text's keys and values are computed once, when they are first needed, and kept on the device.
 */
export class Controls {
  readonly #controls: ControlInRun[];

  /** @param size of the latents. */
  constructor(
    controls: readonly Control[],
    conditioning: Conditioning,
    size: { height: number; width: number },
  ) {
    this.#controls = controls.map((control) => new ControlInRun(control, conditioning, size));
  }

  /**
   * The groups of an evaluation, in the order of the texts. Texts that see the same ControlNets go together; what is
   * for the conditional half only leaves the other to the U-Net alone, so that it costs nothing there.
   */
  at(place: Place, texts: number): TextGroup[] {
    const active = this.#controls.flatMap((control) => {
      const { admitted, guessMode } = control.control;
      const factors = residualFactors(admitted.unit, control.control.net.config, guessMode, place);
      return factors ? [{ control, factors }] : [];
    });
    const unconditional = active.filter(({ control }) => !isConditionalOnly(control.control));
    if (texts === 1 || unconditional.length === active.length)
      return [{ texts: [...Array(texts).keys()], controls: active }];
    return [
      { texts: [0], controls: unconditional },
      { texts: [1], controls: active },
    ];
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#controls.map((control) => control.dispose()));
  }
}

function isConditionalOnly({ admitted: { unit }, guessMode }: Control): boolean {
  return guessMode || unit.mode === 'control';
}

/** A ControlNet during one run. */
export class ControlInRun {
  readonly control: Control;
  readonly #conditioning: Conditioning;
  readonly #size: { height: number; width: number };
  #picture: Promise<Float32Array> | undefined;
  readonly #hints = new Map<number, Promise<NativeTensor>>();
  readonly #contexts = new Map<string, Promise<Record<string, NativeTensor>>>();

  constructor(
    control: Control,
    conditioning: Conditioning,
    { height, width }: { height: number; width: number },
  ) {
    this.control = control;
    this.#conditioning = conditioning;
    const scale = hintScale(control.net.config);
    this.#size = { height: height * scale, width: width * scale };
  }

  /** Makes the hint, the first time. Nothing of that needs the device. */
  async prepare(): Promise<void> {
    const { admitted, part } = this.control;
    this.#picture ??= hintPixels(admitted.hint, this.#size, part);
    await this.#picture;
  }

  /** What it is given for `n` images of each of these texts. Takes the device's time when they are new. */
  async inputs(factors: readonly number[], n: number, texts: readonly number[]): Promise<ControlInput> {
    const { net } = this.control;
    const rows = n * texts.length;
    const hint = await this.#hint(rows);
    const context = await this.#context(n, texts);
    const R = residualCount(net.config);
    const scales = Float32Array.from({ length: R * rows }, (_, i) => factors[Math.floor(i / rows)]!);
    return { net, inputs: { hint, scales, ...context } };
  }

  async dispose(): Promise<void> {
    const [hints, contexts] = await Promise.all([
      Promise.allSettled(this.#hints.values()),
      Promise.allSettled(this.#contexts.values()),
    ]);
    for (const hint of hints) if (hint.status === 'fulfilled') hint.value.dispose();
    for (const context of contexts)
      if (context.status === 'fulfilled') for (const tensor of Object.values(context.value)) tensor.dispose();
  }

  #hint(rows: number): Promise<NativeTensor> {
    const { net } = this.control;
    const hint =
      this.#hints.get(rows) ?? this.#picture!.then((picture) => net.hint(picture, this.#size, rows));
    this.#hints.set(rows, hint);
    return hint;
  }

  #context(n: number, texts: readonly number[]): Promise<Record<string, NativeTensor>> {
    const key = `${n}x${texts}`;
    const rows = n * texts.length;
    const context =
      this.#contexts.get(key) ?? this.control.net.context(this.#conditioning.inputs(n, texts), rows);
    this.#contexts.set(key, context);
    return context;
  }
}
