#!/usr/bin/env node
// The command line. Plain JavaScript: it builds the rest, where a checkout has not been built, or has changed since.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const addon = process.env.LATENT_EDGE_ADDON ?? at('cuda/build/latent_edge.node');

/** As sidecar/cli/status.ts has it. */
const DEVICE_LOST = 69;

try {
  const isBuilt = [at('dist/sidecar/cli/index.js'), addon, at('node_modules')].every((path) =>
    existsSync(path),
  );
  try {
    // Where it is deployed, what has been built is what runs.
    if (process.env.LATENT_EDGE_SETUP !== 'off') {
      const { setup } = await import('./setup.mjs');
      // Standard output is for results.
      await setup((line) => console.error(`${line} …`));
    }
  } catch (error) {
    if (!isBuilt) throw error;
    // What was built before still runs, also where there are no compilers.
    console.error(`latent-edge: could not be brought up to date, going on as it is: ${error.message}`);
  }
  const { main } = await import(new URL('../../dist/sidecar/cli/index.js', import.meta.url));
  process.exitCode = await main(process.argv.slice(2));
  const { hasHung } = await import(new URL('../../dist/sidecar/engine/devices/watchdog.js', import.meta.url));
  // A device that hangs would keep it.
  if (process.exitCode === DEVICE_LOST || hasHung()) process.exit();
} catch (error) {
  console.error(`latent-edge: ${error.message}`);
  console.error('Install and build with: npm run setup');
  process.exitCode = 1;
}
