import { readFileSync, statSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundle, type Edge, nodeRuntime, workerdRuntime } from '../support/runtimes.ts';
import { basics } from './contract/basics.ts';
import { disconnects } from './contract/disconnects.ts';

// What has to hold on either runtime: each file of contract/ registers its tests for a running edge.
const suites = { basics, disconnects };

for (const runtime of [nodeRuntime, workerdRuntime]) {
  const why = runtime.missing ? ` (skipped: ${runtime.missing})` : '';
  describe.skipIf(runtime.missing)(`${runtime.name}${why}`, () => {
    let edge: Edge;
    beforeAll(async () => {
      edge = await runtime.start();
    }, 60_000);
    afterAll(() => edge.stop());
    for (const [name, suite] of Object.entries(suites)) describe(name, () => suite(() => edge));
  });
}

describe.skipIf(workerdRuntime.missing)('the Worker', () => {
  it('is small enough for every plan: 3 MB compressed', () => {
    const file = bundle();
    expect(gzipSync(readFileSync(file)).byteLength).toBeLessThan(300_000);
    expect(statSync(file).size).toBeLessThan(1_500_000);
  });
});
