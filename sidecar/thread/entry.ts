import { parentPort } from 'node:worker_threads';
import type { Answer, Asked } from './in-thread.ts';
import { perform } from './tasks.ts';

// The thread's end of in-thread.ts.

parentPort!.on('message', ({ name, given }: Asked) => {
  let answer: Answer;
  try {
    answer = { result: perform(name, given) };
  } catch (error) {
    answer = { error };
  }
  parentPort!.postMessage(answer, buffersOf(answer));
});

/** Pixels are handed over, not copied. */
function buffersOf({ result }: Answer): ArrayBuffer[] {
  if (!result) return [];
  const { buffer } = ArrayBuffer.isView(result) ? result : result.data;
  return buffer instanceof ArrayBuffer ? [buffer] : [];
}
