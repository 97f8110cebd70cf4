import { LRUCache } from 'lru-cache';
import type { DeviceInfo } from '../../native.ts';
import type { Pass, Workload } from './workload.ts';

/** Kinds of rows whose time is remembered. */
const MAX_KINDS = 1024;

/** The share of a new measurement in the running mean. */
const SHARE = 0.3;

/**
 * Operations in a millisecond that a fast device of its kind about does: a thread of a CPU (AVX-512, 2 × 16 multiply-adds
 * at 4 GHz) and a GPU (an H100 in half precision). No bound: convolutions count as direct sums, of which Winograd's take a
 * quarter or less. U-Nets have been measured at 210 GFLOP/s a thread, decoding at 301.
 */
const PEAK = { thread: 2.5e8, gpu: 1e12 };

/** Operations in a millisecond that a fast device of its kind about does. */
export function peakOf({ threads }: Pick<DeviceInfo, 'threads'>): number {
  return threads > 0 ? threads * PEAK.thread : PEAK.gpu;
}

/** How fast a device is: as measured, row by row; what was not measured is estimated by its operations. */
export class Speed {
  readonly #peak: number;
  readonly #rowMs = new LRUCache<string, number>({ max: MAX_KINDS });

  constructor(info: Pick<DeviceInfo, 'threads'>) {
    this.#peak = peakOf(info);
  }

  /** A run of the U-Net was measured. */
  add(key: string, rows: number, ms: number): void {
    const before = this.#rowMs.get(key);
    this.#rowMs.set(key, before === undefined ? ms / rows : before + SHARE * (ms / rows - before));
  }

  /** Milliseconds of the steps of some work that has the device to itself. */
  stepsMs({ passes }: Workload): number {
    return passes.reduce((sum, pass) => sum + pass.rows * this.#passRowMs(pass), 0);
  }

  /** Milliseconds of all else. */
  otherMs({ flops }: Workload): number {
    return flops / this.#peak;
  }

  ms(work: Workload): number {
    return this.stepsMs(work) + this.otherMs(work);
  }

  #passRowMs({ key, rowFlops }: Pass): number {
    return this.#rowMs.get(key) ?? rowFlops / this.#peak;
  }
}
