import { median } from '../statistics.ts';
import type { SdcppRun, SdcppTimes } from './sdcpp.ts';

/** What one program took for one module of one model. */
export type Module = 'unet' | 'controlnet' | 'vae-decode' | 'text';

export interface ModuleCase {
  kind: 'module';
  module: Module;
  batch: number;
}

/** A whole request; torch's, and stable-diffusion.cpp's where it takes many steps, is its modules added up. */
export interface RequestCase {
  kind: 'request';
  model: 'sd15' | 'sd-turbo';
  steps: number;
  guidance: number;
}

export const CASES: Record<string, ModuleCase | RequestCase> = {
  'text-clip-l': { kind: 'module', module: 'text', batch: 1 },
  'sd15-unet-b1': { kind: 'module', module: 'unet', batch: 1 },
  'sd15-unet-b2': { kind: 'module', module: 'unet', batch: 2 },
  'controlnet-sd15-b1': { kind: 'module', module: 'controlnet', batch: 1 },
  'vae-decode-512': { kind: 'module', module: 'vae-decode', batch: 1 },
  'sd-turbo-1step': { kind: 'request', model: 'sd-turbo', steps: 1, guidance: 1 },
  'sd15-20step': { kind: 'request', model: 'sd15', steps: 20, guidance: 7.5 },
};

export interface Folders {
  sd15: string;
  'sd-turbo': string;
  /** stable-diffusion.cpp's ControlNet, a file, and a picture for it. */
  controlNet: string;
  hint: string;
}

/** Seconds of each module that a request's are added up from: U-Net evaluations by how many texts a step has. */
export type PartSeconds = (model: RequestCase['model'], module: Module, batch: number) => number;

/** A request out of its modules. */
export function addUp({ model, steps, guidance }: RequestCase, seconds: PartSeconds): number {
  const texts = guidance === 1 ? 1 : 2;
  return (
    texts * seconds(model, 'text', 1) +
    steps * seconds(model, 'unet', texts) +
    seconds('sd15', 'vae-decode', 1)
  );
}

export type SdcppCall = Omit<SdcppRun, 'threads' | 'size'>;

/**
 * Seconds of a module by stable-diffusion.cpp, from what its own runs report. It has no command for one module: a step's
 * time is its sampling's, a ControlNet's the difference that it makes: NaN where that is lost in how times vary.
 */
export class SdcppParts {
  readonly #run: (call: SdcppCall) => SdcppTimes;
  readonly #folders: Folders;
  readonly #known = new Map<string, SdcppTimes>();

  constructor(run: (call: SdcppCall) => SdcppTimes, folders: Folders) {
    this.#run = run;
    this.#folders = folders;
  }

  seconds(model: RequestCase['model'], module: Module, batch: number): number {
    const steps = model === 'sd15' ? 2 : 1;
    switch (module) {
      case 'unet':
        return this.#times(model, steps, batch).sampling / steps;
      case 'controlnet': {
        // One right after the other: it is a small part of either.
        this.#known.delete(keyOf(model, steps, batch, false));
        const without = this.#times(model, steps, batch).sampling;
        const difference = this.#times(model, steps, batch, true).sampling - without;
        return difference > 0 ? difference / steps : Number.NaN;
      }
      case 'text':
        return this.#times(model, steps, 1).text;
      default: {
        this.#times(model, steps, 1);
        return median([...this.#known.values()].map(({ decode }) => decode));
      }
    }
  }

  #times(model: RequestCase['model'], steps: number, batch: number, controlled = false): SdcppTimes {
    const key = keyOf(model, steps, batch, controlled);
    const known = this.#known.get(key);
    if (known) return known;
    const { controlNet: weights, hint, [model]: folder } = this.#folders;
    const times = this.#run({
      ...{ model: folder, steps, guidance: batch === 1 ? 1 : 7.5 },
      ...(controlled && { controlNet: { weights, hint } }),
    });
    this.#known.set(key, times);
    return times;
  }
}

function keyOf(model: string, steps: number, batch: number, controlled: boolean): string {
  return `${model} ${steps} ${batch} ${controlled}`;
}
