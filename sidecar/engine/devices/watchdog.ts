import type { NativeDevice, NativeProgram, NativeTensor } from '../../native.ts';

/** A run may take so many times as long as the slowest one of its program before it, or as is estimated by its operations. */
const SLACK = 100;

/**
 * Looks that find a run still under way, one after the other, before it has taken too long: where the whole process
 * stood still, as a machine that slept, one look is late, and not all of them.
 */
const LOOKS = 10;

/**
 * All else may take so many times as long as a run in any case: compiling reads weights, as slow as their disk is, packs
 * them, and may time kernels.
 */
const LOADING = 10;

/** Seconds that a run on a GPU may take in any case, where nothing is said; a CPU is not watched then. */
export const GPU_SECONDS = 60;

export interface Patience {
  /** That any run may take, milliseconds. */
  leastMs: number;
  /** Milliseconds that a plan's operations about take on a fast device. */
  peakMs: (plan: Parameters<NativeDevice['compile']>[0]) => number;
}

/**
 * What was of devices that hang. The addon frees what nobody refers to any more, and waits for the device, on whichever
 * thread: it is kept for as long as the process lives.
 */
const kept: object[] = [];

/** Whether a device of this process hangs: its thread ends with the process, which has to be told to (process.exit). */
export function hasHung(): boolean {
  return kept.length > 0;
}

/**
 * Waits for what opens a device, so many milliseconds at most (0: as long as it takes).
 * @throws Error with ERR_DEVICE_LOST where it takes longer.
 */
export async function opened(
  device: string,
  patienceMs: number,
  opening: Promise<NativeDevice>,
): Promise<NativeDevice> {
  if (patienceMs === 0) return opening;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const look = (times: number) => {
      timer = setTimeout(() => {
        if (times < LOOKS) return look(times + 1);
        kept.push(opening);
        reject(hung(`opening ${device}`, patienceMs));
      }, patienceMs / LOOKS);
    };
    look(1);
  });
  try {
    return await Promise.race([opening, late]);
  } finally {
    clearTimeout(timer);
  }
}

function hung(what: string, ms: number): Error {
  const message = `${what} has not ended within ${Math.round(ms / 1000)} s: it hangs`;
  return Object.assign(new Error(message), { code: 'ERR_DEVICE_LOST' });
}

/**
 * Watches the calls of a device: one that does not end is the end of the device, as a GPU can hang without an error. What
 * waits for it is told ERR_DEVICE_LOST, and so is all that comes; nothing of it is waited for any more. The thread that
 * hangs goes with the process.
 * @returns the same device.
 */
export function watched(device: NativeDevice, { leastMs, peakMs }: Patience): NativeDevice {
  let lost: Error | undefined;
  const living = new Living();
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
  const lose = (what: string, ms: number) => {
    if (lost) return;
    lost = hung(what, ms);
    kept.push(device, ...living.all());
    for (const reject of waiting) reject(lost);
    waiting.clear();
  };

  /** A call that may take so many milliseconds from the end of those before it; told how many it took. */
  const timed = async <T>(
    what: string,
    patience: () => number,
    begin: () => Promise<T>,
    onEnd: (ms: number) => void = () => {},
  ): Promise<T> => {
    const before = last;
    const result = call(begin);
    let timer: NodeJS.Timeout | undefined;
    let began = Number.NaN;
    const look = (times: number, ms: number) => {
      timer = setTimeout(() => {
        if (times < LOOKS) look(times + 1, ms);
        else lose(what, ms);
      }, ms / LOOKS);
    };
    let isOver = false;
    void before.then(() => {
      if (isOver) return;
      began = performance.now();
      look(1, patience());
    });
    try {
      return await result;
    } finally {
      isOver = true;
      clearTimeout(timer);
      if (!Number.isNaN(began)) onEnd(performance.now() - began);
    }
  };
  const loading = <T>(what: string, begin: () => Promise<T>) => timed(what, () => LOADING * leastMs, begin);
  /** Of what there is nothing left to wait for. */
  const end = (dispose: () => Promise<void>) => () =>
    loading('freeing memory', dispose).catch((error) => {
      if (error !== lost) throw error;
    });

  const tensor = (of: NativeTensor): NativeTensor => {
    const { dispose } = of;
    living.add(of);
    const free = () => {
      if (!lost) dispose.call(of);
    };
    return replace(of, { dispose: free });
  };
  const watch = (program: NativeProgram, name: string, least: number): NativeProgram => {
    let slowest = 0;
    const { run, dispose } = program;
    const patience = () => Math.max(leastMs, SLACK * Math.max(slowest, least));
    const timedRun: NativeProgram['run'] = async (inputs, options) => {
      const outputs = await timed(
        name,
        patience,
        () => run.call(program, inputs, options),
        (ms) => {
          slowest = Math.max(slowest, ms);
        },
      );
      for (const output of Object.values(outputs)) if ('dispose' in output) tensor(output);
      return outputs;
    };
    living.add(program);
    return replace(program, { run: timedRun, dispose: end(() => dispose.call(program)) });
  };

  // They stay the addon's own objects, as they are given back to it.
  const { choices, loadWeights, compile, dispose } = device;
  return replace(device, {
    choices: () => loading('asking for its choices', () => choices.call(device)),
    loadWeights: async (...args: Parameters<typeof loadWeights>) => {
      const weights = await loading('loading weights', () => loadWeights.apply(device, args));
      const { dispose } = weights;
      living.add(weights);
      return replace(weights, { dispose: end(() => dispose.call(weights)) });
    },
    compile: async (...args: Parameters<typeof compile>) => {
      const [plan] = args;
      const program = await loading(`compiling ${plan.name}`, () => compile.apply(device, args));
      return watch(program, `a run of ${plan.name}`, peakMs(plan));
    },
    dispose: end(() => dispose.call(device)),
  });
}

/** Objects, for as long as somebody refers to them. */
class Living {
  #refs: WeakRef<object>[] = [];
  #most = 64;

  add(object: object): void {
    if (this.#refs.length >= this.#most) {
      this.#refs = this.#refs.filter((ref) => ref.deref());
      this.#most = 64 + 2 * this.#refs.length;
    }
    this.#refs.push(new WeakRef(object));
  }

  all(): object[] {
    return this.#refs.flatMap((ref) => ref.deref() ?? []);
  }
}

/** With methods of its own in the place of those of its class, which cannot be assigned to. */
function replace<T extends object>(object: T, methods: Partial<T>): T {
  const own = Object.entries(methods).map(([name, value]) => [name, { value }]);
  return Object.defineProperties(object, Object.fromEntries(own));
}
