import { statSync } from 'node:fs';

/** Milliseconds between looks at the files. */
const LOOK_MS = 5000;

export interface Renewal {
  /** None: nothing is looked at. */
  files: readonly string[];
  /** What is made of them, for lines of the log. */
  what: string;
  /** Reads them. Throws where they are wrong: then what was read before goes on. */
  renew: () => void;
  /** One line, each time. */
  say: (line: string) => void;
  everyMs?: number;
}

/**
 * Reads files again when they have changed, whoever changes them and however: in place, or by the links that Kubernetes
 * moves.
 * @returns what ends it.
 */
export function whenChanged({ files, what, renew, say, everyMs = LOOK_MS }: Renewal): () => void {
  if (files.length === 0) return () => {};
  let known = stampOf(files);
  let complaint = '';
  const timer = setInterval(() => {
    const now = stampOf(files);
    if (now === known) return;
    try {
      renew();
      known = now;
      complaint = '';
      say(`${what} renewed`);
    } catch (error) {
      const { message } = error as Error;
      if (message !== complaint) say(`${what} stay as they are: ${message}`);
      complaint = message;
    }
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

function stampOf(files: readonly string[]): string {
  const stamps = files.map((file) => {
    const info = statSync(file, { throwIfNoEntry: false });
    return info && [info.size, info.mtimeMs, info.ctimeMs, info.ino].join(' ');
  });
  return stamps.join('\n');
}
