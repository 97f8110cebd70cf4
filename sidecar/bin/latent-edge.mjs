#!/usr/bin/env node
// The command line. Plain JavaScript: it builds the rest, where a fresh checkout has not been built yet.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const addon = process.env.LATENT_EDGE_ADDON ?? at('cuda/build/latent_edge.node');

try {
  if (!existsSync(at('dist/sidecar/cli/index.js')) || !existsSync(addon) || !existsSync(at('node_modules'))) {
    const { setup } = await import('./setup.mjs');
    // Standard output is for results.
    await setup((line) => console.error(`${line} …`));
  }
  const { main } = await import(new URL('../../dist/sidecar/cli/index.js', import.meta.url));
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(`latent-edge: ${error.message}`);
  console.error('Install and build with: npm run setup');
  process.exitCode = 1;
}
