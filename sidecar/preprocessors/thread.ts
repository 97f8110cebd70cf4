import { Worker } from 'node:worker_threads';
import { type Hint, hintOf, type Preprocessor, type ResizeMode, type RgbImage } from './index.ts';

/** What the thread is asked for: `hintOf` of these. */
export interface Job {
  id: number;
  name: string;
  values: Record<string, number>;
  image: RgbImage;
  size: { width: number; height: number };
  mode: ResizeMode;
  mask: Uint8Array | undefined;
}

/** One of the two. */
export interface Answer {
  id: number;
  hint?: Hint;
  error?: unknown;
}

interface Waiting {
  resolve: (hint: Hint) => void;
  reject: (error: unknown) => void;
}

interface Thread {
  worker: Worker;
  waiting: Map<number, Waiting>;
}

/** Of the sources themselves, which only tests run, Node 20 loads none into a thread. */
const isCompiled = import.meta.url.endsWith('.js');

let thread: Thread | undefined;
let jobs = 0;

/**
 * As `hintOf`, in a thread that begins with the first of them: of 1024×1024 pixels some take most of a second, in which
 * nobody else's step would be begun.
 */
export async function hintInThread(
  preprocessor: Preprocessor,
  image: RgbImage,
  size: { width: number; height: number },
  mode: ResizeMode,
  mask?: Uint8Array,
): Promise<Hint> {
  if (!isCompiled) return hintOf(preprocessor, image, size, mode, mask);
  const { row, values } = preprocessor;
  const job: Job = { id: ++jobs, name: row.name, values, image, size, mode, mask };
  return new Promise((resolve, reject) => {
    thread ??= begin();
    thread.waiting.set(job.id, { resolve, reject });
    // It keeps the process for as long as somebody waits.
    thread.worker.ref();
    thread.worker.postMessage(job);
  });
}

function begin(): Thread {
  // Without the process's own options, of which some are not for threads.
  const worker = new Worker(new URL('./thread-entry.js', import.meta.url), { execArgv: [] });
  const begun: Thread = { worker, waiting: new Map() };
  worker.on('message', ({ id, hint, error }: Answer) => {
    const { resolve, reject } = begun.waiting.get(id)!;
    begun.waiting.delete(id);
    if (begun.waiting.size === 0) worker.unref();
    if (hint) resolve(hint);
    else reject(error);
  });
  // It is gone, as where there was no memory for it: the next hint begins another.
  const fail = (error: Error) => {
    if (thread === begun) thread = undefined;
    for (const { reject } of begun.waiting.values()) reject(error);
    begun.waiting.clear();
  };
  worker.on('error', fail);
  worker.on('exit', (code) => fail(new Error(`The thread of preprocessors has ended with ${code}`)));
  return begun;
}
