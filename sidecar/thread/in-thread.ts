import { Worker } from 'node:worker_threads';
import { perform, type TaskName, type Tasks } from './tasks.ts';

/** What the thread is told to do. */
export interface Asked {
  name: TaskName;
  given: Parameters<Tasks[TaskName]>;
}

/** One of the two. */
export interface Answer {
  result?: ReturnType<Tasks[TaskName]>;
  error?: unknown;
}

export interface InThreadOptions {
  signal?: AbortSignal | undefined;
  /** For a request that has its place on a device, which waits for it: before other work, but for one after IN_A_ROW. */
  isForRequest?: boolean | undefined;
}

interface Job extends Asked {
  isForRequest: boolean;
  end: (answer: Answer) => void;
}

/** Of the sources themselves, which only tests run, Node 20 loads none into a thread. */
const isCompiled = import.meta.url.endsWith('.js');

/** Of requests' own work so much in a row, while other work waits: the next is of that. */
const IN_A_ROW = 8;

let thread: Worker | undefined;
let underWay: Job | undefined;
const waiting: Job[] = [];
let inARow = 0;

/**
 * Does work on pictures in a thread, which begins with the first of it, one after the other: of 1024×1024 pixels some
 * takes most of a second, in which nobody else's step would be begun. In the order in which it comes, requests' own first,
 * but other work too after IN_A_ROW of those.
 * @throws what the work throws, or the signal's reason: what has not begun by then never is.
 */
export async function inThread<N extends TaskName>(
  name: N,
  given: Parameters<Tasks[N]>,
  { signal, isForRequest = false }: InThreadOptions = {},
): Promise<ReturnType<Tasks[N]>> {
  signal?.throwIfAborted();
  if (!isCompiled) return perform(name, given);
  return new Promise((resolve, reject) => {
    const leave = () => {
      const at = waiting.indexOf(job);
      if (at >= 0) waiting.splice(at, 1);
      reject(signal!.reason);
    };
    const end = ({ result, error }: Answer) => {
      signal?.removeEventListener('abort', leave);
      if (result) resolve(result as ReturnType<Tasks[N]>);
      else reject(error);
    };
    const job: Job = { name, given, isForRequest, end };
    signal?.addEventListener('abort', leave, { once: true });
    const behind = isForRequest ? waiting.findIndex((other) => !other.isForRequest) : -1;
    waiting.splice(behind < 0 ? waiting.length : behind, 0, job);
    next();
  });
}

function next(): void {
  if (underWay) return;
  const other = waiting.findIndex(({ isForRequest }) => !isForRequest);
  const at = other > 0 && inARow >= IN_A_ROW ? other : 0;
  underWay = waiting.splice(at, 1)[0];
  inARow = underWay?.isForRequest && other >= 0 ? inARow + 1 : 0;
  if (!underWay) {
    // It keeps the process for as long as it has something to do.
    thread?.unref();
    return;
  }
  const { name, given } = underWay;
  try {
    thread ??= begin();
    thread.ref();
    thread.postMessage({ name, given } satisfies Asked);
  } catch (error) {
    ended({ error });
  }
}

/** Of what is under way. */
function ended(answer: Answer): void {
  const job = underWay;
  underWay = undefined;
  job?.end(answer);
  next();
}

function begin(): Worker {
  // Without the process's own options, of which some are not for threads.
  const begun = new Worker(new URL('./entry.js', import.meta.url), { execArgv: [] });
  begun.on('message', ended);
  // It is gone, as where there was no memory for it: the next job begins another.
  const fail = (error: Error) => {
    if (thread !== begun) return;
    thread = undefined;
    ended({ error });
  };
  begun.on('error', fail);
  begun.on('exit', (code) => fail(new Error(`The thread for pictures has ended with ${code}`)));
  return begun;
}
