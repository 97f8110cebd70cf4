import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Watches the process of a target: the input that it was given last, which lies in `current` behind its length, is kept
 * where the process is ended, whoever ends it, or is not heard of for a while.
 * @param child that sends a message now and then.
 * @param folder where `current` is, and the input goes.
 * @returns its exit status; 1 where a signal ended it.
 */
export function watch(child, folder, timeoutMs) {
  const keepCurrent = (kind) => {
    const bytes = readFileSync(join(folder, 'current'));
    const input = bytes.subarray(4, 4 + bytes.readUInt32LE());
    const file = join(folder, `${kind}-${createHash('sha1').update(input).digest('hex')}`);
    writeFileSync(file, input);
    console.error(`${kind}: the input is ${file}`);
  };
  return new Promise((resolve) => {
    let timer;
    let isGivenUp = false;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        isGivenUp = true;
        keepCurrent('timeout');
        child.kill('SIGKILL');
      }, timeoutMs);
    };
    child.on('message', wait);
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      // Of what it knows itself it has told. SIGKILL from elsewhere: there was no memory left.
      if (signal !== null && !isGivenUp) keepCurrent(signal === 'SIGKILL' ? 'killed' : 'crash');
      resolve(code ?? 1);
    });
    wait();
  });
}
