import type { Plan } from '../../graph/plan.ts';
import type { NativeDevice } from '../../native.ts';

/** What is taken for a device that has loaded nothing yet: bytes in a millisecond, and how many bytes that counts as. */
const ASSUMED = { perMs: 1e6, bytes: 1e8 };

/** What earlier loads count after a gigabyte more. */
const SHARE = 0.7;

/** So few bytes say nothing: most of their time is that of a file and a program, whatever their size. */
const LEAST = 16e6;

/** How fast weights are read, converted and packed on a device, by those that were: in bytes as float32. */
export class Loading {
  #bytes = ASSUMED.bytes;
  #ms = ASSUMED.bytes / ASSUMED.perMs;

  /** So many were loaded. */
  add(bytes: number, ms: number): void {
    if (bytes < LEAST) return;
    const share = SHARE ** (bytes / 1e9);
    this.#bytes = share * this.#bytes + bytes;
    this.#ms = share * this.#ms + ms;
  }

  /** Milliseconds that so many would take, about. */
  ms(bytes: number): number {
    return (bytes * this.#ms) / this.#bytes;
  }
}

const known = new WeakMap<NativeDevice, Loading>();

/** Of a device, for as long as it is there. */
export function loadingOf(device: NativeDevice): Loading {
  const loading = known.get(device) ?? new Loading();
  known.set(device, loading);
  return loading;
}

/** Bytes of a plan's weights as float32, each once. */
export function weightBytes({ ops }: Plan): number {
  const weights = ops.flatMap((op) => Object.values(op.weights));
  const byName = new Map(weights.map(({ names, shape }) => [names.join(), shape]));
  return [...byName.values()].reduce((sum, shape) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
}
