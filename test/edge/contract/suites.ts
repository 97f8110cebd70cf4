import { afterAll, beforeAll, describe } from 'vitest';
import type { Edge, Runtime } from '../../support/runtimes.ts';
import { a1111 } from './a1111.ts';
import { basics } from './basics.ts';
import { caching } from './caching.ts';
import { disconnects } from './disconnects.ts';
import { edits } from './edits.ts';
import { fuzz } from './fuzz.ts';
import { guarded, guardedEnv, limited, limitedEnv } from './guarded.ts';
import { jobs, jobsEnv } from './jobs.ts';
import { openai, openaiEnv } from './openai.ts';
import { transport } from './transport.ts';

// Each registers its tests for a running edge.
const suites: { env?: Record<string, string>; suites: Record<string, (edge: () => Edge) => void> }[] = [
  { suites: { a1111, basics, disconnects, edits, fuzz, transport } },
  { env: openaiEnv, suites: { openai } },
  { env: guardedEnv, suites: { guarded, caching } },
  { env: jobsEnv, suites: { jobs } },
  { env: limitedEnv, suites: { limited } },
];

/** What has to hold on either runtime. */
export function contract(runtime: Runtime): void {
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
