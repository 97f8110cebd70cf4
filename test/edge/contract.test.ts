import { readFileSync, statSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundle, type Edge, nodeRuntime, workerdRuntime } from '../support/runtimes.ts';
import { basics } from './contract/basics.ts';
import { disconnects } from './contract/disconnects.ts';
import { edits } from './contract/edits.ts';
import { guarded, guardedEnv, limited, limitedEnv } from './contract/guarded.ts';
import { openai } from './contract/openai.ts';
import { transport } from './contract/transport.ts';

// What has to hold on either runtime: each file of contract/ registers its tests for a running edge.
const suites: { env?: Record<string, string>; suites: Record<string, (edge: () => Edge) => void> }[] = [
  { suites: { basics, disconnects, edits, openai, transport } },
  { env: guardedEnv, suites: { guarded } },
  { env: limitedEnv, suites: { limited } },
];

for (const runtime of [nodeRuntime, workerdRuntime]) {
  const why = runtime.missing ? ` (skipped: ${runtime.missing})` : '';
  describe.skipIf(runtime.missing)(`${runtime.name}${why}`, () => {
    for (const { env, suites: each } of suites)
      describe.each(Object.entries(each))('%s', (_, suite) => {
        let edge: Edge;
        beforeAll(async () => {
          edge = await runtime.start(env);
        }, 60_000);
        afterAll(() => edge.stop());
        suite(() => edge);
      });
  });
}

describe.skipIf(workerdRuntime.missing)('the Worker', () => {
  it('is small enough for every plan: 3 MB compressed', () => {
    const file = bundle();
    expect(gzipSync(readFileSync(file)).byteLength).toBeLessThan(300_000);
    expect(statSync(file).size).toBeLessThan(1_500_000);
  });
});
