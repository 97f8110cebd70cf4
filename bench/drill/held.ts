// Loaded into each process of the drill before its own code: says, when it is asked, how many bytes it has in use. What
// is garbage is collected first: resident memory has that too, and what the allocator keeps, and so shows no bound.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

process.on('message', (message: { isHeldAsked?: boolean }) => {
  if (!message.isHeldAsked) return;
  // Once more ends what the first left to other threads.
  for (const _ of [1, 2]) collect();
  const { heapUsed, external } = process.memoryUsage();
  process.send!({ heldBytes: heapUsed + external });
});
// It alone keeps no process going.
process.channel?.unref();
