import { parentPort } from 'node:worker_threads';
import { choosePreprocessor, hintOf } from './index.ts';
import type { Answer, Job } from './thread.ts';

// The thread's end of thread.ts.

parentPort!.on('message', ({ id, name, values, image, size, mode, mask }: Job) => {
  const answer: Answer = { id };
  try {
    answer.hint = hintOf(choosePreprocessor(name, values), image, size, mode, mask);
  } catch (error) {
    answer.error = error;
  }
  const data = answer.hint?.data.buffer;
  parentPort!.postMessage(answer, data instanceof ArrayBuffer ? [data] : []);
});
