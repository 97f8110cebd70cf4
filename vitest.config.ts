import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// Tests are named by what they need: unit (nothing), cpu (the addon), edge (a fake sidecar), e2e (built processes),
// emulator (the addon with CUDA kernels emulated), gpu (a GPU).
const project = (name: string, timeout: number, env: Record<string, string> = {}, isolate = true) => ({
  test: {
    name,
    isolate,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeout,
    hookTimeout: timeout,
    // What is waited for comes at once, unless the machine is busy.
    expect: { poll: { timeout: timeout / 3 } },
    // Models that somebody has pulled are no concern of the tests.
    env: { XDG_DATA_HOME: fileURLToPath(new URL('test/.cache/data', import.meta.url)), ...env },
  },
});

const emulator = fileURLToPath(new URL('cuda/build/emulator/latent_edge.node', import.meta.url));

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      // What has no state needs no process for each file.
      project('unit', 30_000, {}, false),
      project('cpu', 120_000),
      project('edge', 30_000),
      project('e2e', 180_000),
      project('gpu', 600_000),
      project('emulator', 120_000, { LATENT_EDGE_ADDON: process.env.LATENT_EDGE_ADDON ?? emulator }),
    ],
  },
});
