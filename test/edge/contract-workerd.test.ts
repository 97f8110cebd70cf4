import { readFileSync, statSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { bundle, missingWrangler, workerdRuntime } from '../support/runtimes.ts';
import { as, guardedEnv } from './contract/guarded.ts';
import { jobsOverRestarts } from './contract/jobs-over-restarts.ts';
import { generate } from './contract/requests.ts';
import { contract } from './contract/suites.ts';

contract(workerdRuntime);

const noWorkerd = workerdRuntime.missing ? ` (skipped: ${workerdRuntime.missing})` : '';
describe.skipIf(workerdRuntime.missing)(`the Worker${noWorkerd}`, { timeout: 60_000 }, () => {
  it('lets nobody in without keys, unless told so, and keeps no jobs with none allowed', async () => {
    const closed = await workerdRuntime.start({ ALLOW_ANONYMOUS: 'false' });
    const refused = await generate(closed, {});
    expect([refused.status, (await refused.json()).error.code]).toEqual([401, 'no_api_keys']);
    expect((await closed.fetch('/healthz')).status).toBe(200);
    await closed.stop();
    const edge = await workerdRuntime.start({ ...guardedEnv, JOBS_MAX: '0' });
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

  jobsOverRestarts(workerdRuntime);
});

const noWrangler = missingWrangler ? ` (skipped: ${missingWrangler})` : '';
describe.skipIf(missingWrangler)(`the Worker's bundle${noWrangler}`, { timeout: 60_000 }, () => {
  it('is small enough for every plan: 3 MB compressed', () => {
    const file = bundle();
    expect(gzipSync(readFileSync(file)).byteLength).toBeLessThan(240_000);
    expect(statSync(file).size).toBeLessThan(1_000_000);
  });
});
