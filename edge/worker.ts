import type { OpenAPIHono } from '@hono/zod-openapi';
import { Hono } from 'hono';
import { requestId } from 'hono/request-id';
import { createApp } from './app.ts';
import { workersStore } from './cache/workers.ts';
import { type Environment, flag, list, readSettings, text } from './config.ts';
import { ApiError, errorResponse } from './errors.ts';
import { bindingLimiter, type RateLimitBinding } from './guard/rate.ts';
import { grpcWebSidecar } from './sidecar/grpc-web.ts';
import { sidecarPool } from './sidecar/pool.ts';

// The edge on Cloudflare Workers. docs/deployment.md lists its bindings; wrangler.toml has them.

interface Env extends Environment {
  /** `http://HOST:PORT` of a sidecar's gRPC-Web bridge, or several, separated by commas. */
  SIDECAR_URL: string;
  /** A binding to a private network that the sidecars are in. */
  SIDECAR_NETWORK?: { fetch: typeof fetch };
  RATE_LIMIT?: RateLimitBinding;
}

let app: Pick<OpenAPIHono, 'fetch'> | undefined;

function appOf(env: Env): OpenAPIHono {
  const { guard, perMinute, timeoutMs, limits, cache } = readSettings(env);
  const counted = guard.keys?.find((key) => key.requests_per_minute !== undefined);
  const setting =
    perMinute === undefined ? counted && `requests_per_minute of ${counted.name}` : 'RATE_LIMIT_PER_MINUTE';
  if (setting)
    throw new Error(
      `expected no ${setting} on Workers: the RATE_LIMIT binding has such numbers, in wrangler.toml`,
    );
  const limit = env.RATE_LIMIT;
  return createApp({
    sidecar: sidecarPool(list(env, 'SIDECAR_URL').map((url) => grpcWebSidecar(url, sidecarOptions(env)))),
    ...{ timeoutMs, limits },
    cache: cache.seconds > 0 ? { ...cache, store: workersStore(cache.seconds) } : undefined,
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

/** What the bridge asks for, and Cloudflare Access before it. */
function sidecarOptions(env: Env) {
  const token = text(env, 'SIDECAR_TOKEN');
  const [id, secret] = [text(env, 'CF_ACCESS_CLIENT_ID'), text(env, 'CF_ACCESS_CLIENT_SECRET')];
  const headers = {
    ...(token && { authorization: `Bearer ${token}` }),
    ...(id && secret && { 'cf-access-client-id': id, 'cf-access-client-secret': secret }),
  };
  const network = env.SIDECAR_NETWORK;
  return { headers, fetch: network && ((...args: Parameters<typeof fetch>) => network.fetch(...args)) };
}

function open(env: Env): Pick<OpenAPIHono, 'fetch'> {
  try {
    return appOf(env);
  } catch (error) {
    return faultyApp(error);
  }
}

export default {
  fetch(request: Request, env: Env, context: never): Response | Promise<Response> {
    // Bindings stay as they are for as long as an isolate lives.
    app ??= open(env);
    return app.fetch(request, env, context);
  },
};
