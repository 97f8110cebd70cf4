import type { NativeDevice, NativeProgram } from '../../native.ts';

/** A run may take so many times as long as the slowest one of its program before it, or as its operations at least do. */
const SLACK = 100;

/**
 * Looks that find a run still under way, one after the other, before it has taken too long: where the whole process
 * stood still, as a machine that slept, one look is late, and not all of them.
 */
const LOOKS = 10;

/** Seconds that a run on a GPU may take in any case, where nothing is said; a CPU is not watched then. */
export const GPU_SECONDS = 60;

export interface Patience {
  /** That any run may take, milliseconds. */
  leastMs: number;
  /** Milliseconds that a plan's operations take at least. */
  peakMs: (plan: Parameters<NativeDevice['compile']>[0]) => number;
}

/**
 * Watches the runs of a device: one that does not end is the end of the device, as a GPU can hang without an error. What
 * waits for it is told ERR_DEVICE_LOST, and so is all that comes; nothing of it is waited for any more. The thread that
 * hangs goes with the process.
 * @returns the same device.
 */
export function watched(device: NativeDevice, { leastMs, peakMs }: Patience): NativeDevice {
  let lost: Error | undefined;
  const waiting = new Set<(reason: Error) => void>();
  /** The end of the last call: a device does one after the other. */
  let last: Promise<unknown> = Promise.resolve();

  const call = <T>(begin: () => Promise<T>): Promise<T> => {
    if (lost) return Promise.reject(lost);
    const result = begin();
    const raced = new Promise<T>((resolve, reject) => {
      waiting.add(reject);
      result.then(resolve, reject).finally(() => waiting.delete(reject));
    });
    last = raced.catch(() => {});
    return raced;
  };
  /** Of what there is nothing left to wait for. */
  const end = (dispose: () => Promise<void>) => () =>
    call(dispose).catch((error) => {
      if (error !== lost) throw error;
    });
  const lose = (what: string, ms: number) => {
    if (lost) return;
    const message = `${what} has not ended within ${Math.round(ms / 1000)} s: it hangs`;
    lost = Object.assign(new Error(message), { code: 'ERR_DEVICE_LOST' });
    for (const reject of waiting) reject(lost);
    waiting.clear();
  };

  const watch = (program: NativeProgram, name: string, least: number): NativeProgram => {
    let slowest = 0;
    const { run, dispose } = program;
    const timed: NativeProgram['run'] = async (inputs, options) => {
      const before = last;
      const result = call(() => run.call(program, inputs, options));
      let timer: NodeJS.Timeout | undefined;
      let began = Number.NaN;
      const look = (times: number, ms: number) => {
        timer = setTimeout(() => {
          if (times < LOOKS) look(times + 1, ms);
          else lose(name, ms);
        }, ms / LOOKS);
      };
      let isOver = false;
      void before.then(() => {
        if (isOver) return;
        began = performance.now();
        look(1, Math.max(leastMs, SLACK * Math.max(slowest, least)));
      });
      try {
        return await result;
      } finally {
        isOver = true;
        clearTimeout(timer);
        if (began) slowest = Math.max(slowest, performance.now() - began);
      }
    };
    return replace(program, { run: timed, dispose: end(() => dispose.call(program)) });
  };

  // They stay the addon's own objects, as they are given back to it.
  const { choices, loadWeights, compile, dispose } = device;
  return replace(device, {
    choices: () => call(() => choices.call(device)),
    loadWeights: async (...args: Parameters<typeof loadWeights>) => {
      const weights = await call(() => loadWeights.apply(device, args));
      const { dispose } = weights;
      return replace(weights, { dispose: end(() => dispose.call(weights)) });
    },
    compile: async (...args: Parameters<typeof compile>) => {
      const [plan] = args;
      const program = await call(() => compile.apply(device, args));
      return watch(program, `a run of ${plan.name}`, peakMs(plan));
    },
    dispose: end(() => dispose.call(device)),
  });
}

/** With methods of its own in the place of those of its class, which cannot be assigned to. */
function replace<T extends object>(object: T, methods: Partial<T>): T {
  const own = Object.entries(methods).map(([name, value]) => [name, { value }]);
  return Object.defineProperties(object, Object.fromEntries(own));
}
