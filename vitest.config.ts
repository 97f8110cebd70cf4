import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

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

/** Files that take longest, in tens of seconds: they begin first, so that no worker is left alone with one. */
const LONG = [
  'ops',
  'ops-conv2d',
  'cli-generate',
  'cli-module',
  'start',
  'contract-workerd',
  'contract-node',
  'playground',
  'bad-input',
  'addon-process',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => LONG.includes(basename(moduleId, '.test.ts'));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

const emulator = fileURLToPath(new URL('cuda/build/emulator/latent_edge.node', import.meta.url));

export default defineConfig({
  test: {
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      // What has no state, or ends what it opens, needs no process for each file.
      project('unit', 30_000, {}, false),
      project('cpu', 120_000, {}, false),
      project('edge', 30_000, {}, false),
      project('e2e', 180_000),
      project('gpu', 600_000),
      project('emulator', 120_000, { LATENT_EDGE_ADDON: process.env.LATENT_EDGE_ADDON ?? emulator }),
    ],
  },
});
