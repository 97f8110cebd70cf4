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
  /** stampOf them, taken before they were read first: what is written to them between then and now is found. */
  since: string;
}

/**
 * Reads files again when they have changed, whoever changes them and however: in place, or by the links that Kubernetes
 * moves.
 * @returns what ends it.
 */
export function whenChanged({ files, what, renew, say, everyMs = LOOK_MS, since }: Renewal): () => void {
  if (files.length === 0) return () => {};
  let known = since;
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

/** Of files as they are, one line each; an empty one for what is not there, or cannot be looked at. */
export function stampOf(files: readonly string[]): string {
  return files.map(stampOfOne).join('\n');
}

function stampOfOne(file: string): string {
  try {
    const { size, mtimeMs, ctimeMs, ino } = statSync(file);
    return [size, mtimeMs, ctimeMs, ino].join(' ');
  } catch {
    return '';
  }
}
