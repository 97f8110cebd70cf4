import { hintScale } from '../../models/controlnet-config.ts';
import type { NativeTensor } from '../../native.ts';
import type { Conditioning, Exclusive } from '../conditioning/index.ts';
import { type Context, type ControlRow, disposeContext } from '../denoiser.ts';
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

  dispose(): void {
    for (const control of this.#controls) control.dispose();
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
  #hint: NativeTensor | undefined;
  /** By text. */
  readonly #contexts = new Map<number, Context>();

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

  /**
   * Computes what of its inputs for these texts is not there yet: with `exclusive`, what takes the device's time.
   * @param signal the run's, always the same.
   * @throws its reason.
   */
  async prepare(texts: readonly number[], exclusive: Exclusive, signal?: AbortSignal): Promise<void> {
    const { admitted, part, net } = this.control;
    this.#picture ??= hintPixels(admitted.hint, this.#size, part, signal);
    const picture = await this.#picture;
    const missing = texts.filter((text) => !this.#contexts.has(text));
    if (this.#hint && missing.length === 0) return;
    await exclusive(async () => {
      this.#hint ??= await net.hint(picture, this.#size);
      for (const text of missing)
        this.#contexts.set(text, await net.context(this.#conditioning.inputs(text)));
    });
  }

  /** Its part in a row of a text that it is prepared for. */
  row(factors: readonly number[], text: number): ControlRow {
    return { net: this.control.net, hint: this.#hint!, factors, context: this.#contexts.get(text)! };
  }

  /** After `prepare`. */
  dispose(): void {
    this.#hint?.dispose();
    for (const context of this.#contexts.values()) disposeContext(context);
  }
}
