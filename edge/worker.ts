import type { OpenAPIHono } from '@hono/zod-openapi';
import { Hono } from 'hono';
import { requestId } from 'hono/request-id';
import { createApp } from './app.ts';
import { workersStore } from './cache/workers.ts';
import { flag, readSettings } from './config.ts';
import { ApiError, errorResponse } from './errors.ts';
import { bindingLimiter } from './guard/rate.ts';
import { type WorkerEnv, workerSidecar } from './worker-env.ts';
import { toCallerJobs } from './worker-jobs.ts';

export { CallerJobs } from './worker-jobs.ts';

// The edge on Cloudflare Workers.

let app: Pick<OpenAPIHono, 'fetch'> | undefined;

function appOf(env: WorkerEnv): OpenAPIHono {
  const { guard, perMinute, timeoutMs, limits, cache, jobs } = readSettings(env);
  const counted = guard.keys?.find((key) => key.requests_per_minute !== undefined);
  const setting =
    perMinute === undefined ? counted && `requests_per_minute of ${counted.name}` : 'RATE_LIMIT_PER_MINUTE';
  if (setting)
    throw new Error(
      `expected no ${setting} on Workers: the RATE_LIMIT binding has such numbers, in wrangler.toml`,
    );
  const limit = env.RATE_LIMIT;
  return createApp({
    sidecar: workerSidecar(env),
    ...{ timeoutMs, limits },
    cache: cache.seconds > 0 ? { ...cache, store: workersStore(cache.seconds) } : undefined,
    jobs: env.JOBS && jobs.count > 0 ? toCallerJobs(env.JOBS) : undefined,
    guard: {
      ...guard,
      // What is deployed is open to the world: not without keys, unless that is meant.
      keys: guard.keys?.length === 0 && !flag(env, 'ALLOW_ANONYMOUS') ? undefined : guard.keys,
      // Names are the platform's to route.
      allowedHosts: undefined,
      limiter: limit ? bindingLimiter(limit) : async () => undefined,
      addressOf: (c) => c.req.header('cf-connecting-ip') ?? '',
    },
    log: ({ error }) => {
      if (error) console.error(error);
    },
  });
}

/** Where the settings are wrong: says so in the log, and to every caller that this server has a fault. */
function faultyApp(error: unknown): Hono {
  const faulty = new Hono();
  faulty.use(requestId());
  faulty.all('*', (c) => {
    console.error(error);
    const message = 'This server cannot start: one of its settings is wrong, and its log says which';
    return errorResponse(c, new ApiError(500, 'internal', message));
  });
  return faulty;
}

function open(env: WorkerEnv): Pick<OpenAPIHono, 'fetch'> {
  try {
    return appOf(env);
  } catch (error) {
    return faultyApp(error);
  }
}

export default {
  fetch(request: Request, env: WorkerEnv, context: never): Response | Promise<Response> {
    // Bindings stay as they are for as long as an isolate lives.
    app ??= open(env);
    return app.fetch(request, env, context);
  },
};
