import { readFileSync, statSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundle, type Edge, missingWrangler, nodeRuntime, workerdRuntime } from '../support/runtimes.ts';
import { a1111 } from './contract/a1111.ts';
import { basics } from './contract/basics.ts';
import { caching } from './contract/caching.ts';
import { disconnects } from './contract/disconnects.ts';
import { edits } from './contract/edits.ts';
import { fuzz } from './contract/fuzz.ts';
import { as, guarded, guardedEnv, limited, limitedEnv } from './contract/guarded.ts';
import { openai, openaiEnv } from './contract/openai.ts';
import { generate } from './contract/requests.ts';
import { transport } from './contract/transport.ts';

// What has to hold on either runtime: each file of contract/ registers its tests for a running edge.
const suites: { env?: Record<string, string>; suites: Record<string, (edge: () => Edge) => void> }[] = [
  { suites: { a1111, basics, disconnects, edits, fuzz, transport } },
  { env: openaiEnv, suites: { openai } },
  { env: guardedEnv, suites: { guarded, caching } },
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

const noWorkerd = workerdRuntime.missing ? ` (skipped: ${workerdRuntime.missing})` : '';
describe.skipIf(workerdRuntime.missing)(`the Worker${noWorkerd}`, { timeout: 60_000 }, () => {
  it('lets nobody in without keys, unless told so, and keeps no jobs', async () => {
    const closed = await workerdRuntime.start({ ALLOW_ANONYMOUS: 'false' });
    const refused = await generate(closed, {});
    expect([refused.status, (await refused.json()).error.code]).toEqual([401, 'no_api_keys']);
    expect((await closed.fetch('/healthz')).status).toBe(200);
    await closed.stop();
    const edge = await workerdRuntime.start(guardedEnv);
    const headers = { ...as('ana'), 'content-type': 'application/json' };
    for (const [method, path] of [
      ['POST', '/v1/jobs'],
      ['GET', '/v1/jobs/x'],
      ['GET', '/v1/jobs/x/result'],
      ['DELETE', '/v1/jobs/x'],
    ] as const) {
      const body = method === 'POST' ? '{"prompt": "x"}' : undefined;
      const response = await edge.fetch(path, { method, headers, body });
      expect([response.status, (await response.json()).error.code]).toEqual([501, 'not_implemented']);
    }
    await edge.stop();
  });
});

const noWrangler = missingWrangler ? ` (skipped: ${missingWrangler})` : '';
describe.skipIf(missingWrangler)(`the Worker's bundle${noWrangler}`, { timeout: 60_000 }, () => {
  it('is small enough for every plan: 3 MB compressed', () => {
    const file = bundle();
    expect(gzipSync(readFileSync(file)).byteLength).toBeLessThan(300_000);
    expect(statSync(file).size).toBeLessThan(1_500_000);
  });
});
