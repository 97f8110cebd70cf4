import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The checkout's folder, from the sources (bench/) and from the build (dist/bench/). */
export const ROOT = fileURLToPath(
  new URL(existsSync(new URL('../package-lock.json', import.meta.url)) ? '..' : '../..', import.meta.url),
);
