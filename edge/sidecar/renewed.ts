import { statSync } from 'node:fs';
import type { SidecarClient } from './client.ts';

/** Milliseconds between looks at the files. */
const LOOK_MS = 5000;

export interface RenewedOptions {
  /** Of tokens and certificates; none: nothing is looked at. */
  files: readonly string[];
  /** A client that shows what the files say now. Throws where that is wrong: then the one before goes on. */
  open: () => SidecarClient;
  /** One line, each time. */
  say: (line: string) => void;
  everyMs?: number;
}

/** A sidecar's client that is opened anew when files have changed; calls under way end with the one they began with. */
export function renewedSidecar({ files, open, say, everyMs = LOOK_MS }: RenewedOptions): SidecarClient {
  let client = open();
  if (files.length === 0) return client;
  let known = stampOf(files);
  let complaint = '';
  const timer = setInterval(() => {
    const now = stampOf(files);
    if (now === known) return;
    try {
      const next = open();
      client.close();
      client = next;
      known = now;
      complaint = '';
      say('token and certificates for the sidecar renewed');
    } catch (error) {
      const { message } = error as Error;
      if (message !== complaint) say(`token and certificates stay as they are: ${message}`);
      complaint = message;
    }
  }, everyMs);
  timer.unref();
  return {
    generate: (...args) => client.generate(...args),
    listModels: (...args) => client.listModels(...args),
    deviceInfo: (...args) => client.deviceInfo(...args),
    listNames: (...args) => client.listNames(...args),
    preprocess: (...args) => client.preprocess(...args),
    close() {
      clearInterval(timer);
      client.close();
    },
  };
}

function stampOf(files: readonly string[]): string {
  const stamps = files.map((file) => {
    const info = statSync(file, { throwIfNoEntry: false });
    return info && [info.size, info.mtimeMs, info.ctimeMs, info.ino].join(' ');
  });
  return stamps.join('\n');
}
