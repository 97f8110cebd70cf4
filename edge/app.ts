import { OpenAPIHono } from '@hono/zod-openapi';
import type { Hono } from 'hono';
import { requestId } from 'hono/request-id';
import type { Tracing } from '../proto/tracing/index.ts';
import { type CacheOptions, ResultCache } from './cache/results.ts';
import { ApiError, errorResponse, toApiError } from './errors.ts';
import { type GuardOptions, guard, openGuard } from './guard/guard.ts';
import type { JobStore } from './jobs/store.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { type AccessLog, accessLog } from './log.ts';
import type { FetchPicture } from './pictures.ts';
import { a1111 } from './routes/a1111/index.ts';
import { edits } from './routes/edits.ts';
import { generations } from './routes/generations.ts';
import { health } from './routes/health.ts';
import { type ForwardJobs, forwardedJobs, jobs } from './routes/jobs.ts';
import { models } from './routes/models.ts';
import { names } from './routes/names.ts';
import { openapi } from './routes/openapi.ts';
import { playground } from './routes/playground.ts';
import { storedImages } from './routes/stored-images.ts';
import type { SidecarClient } from './sidecar/client.ts';
import { traceRequests } from './tracing.ts';

export interface AppOptions {
  sidecar: SidecarClient;
  /** Default: `defaultLimits`. */
  limits?: Partial<Limits>;
  /** Who may ask, from where, how often; default: whoever reaches it under one of loopback's names. */
  guard?: GuardOptions;
  /** Where results of seeded requests are kept; none: nowhere. */
  cache?: CacheOptions | undefined;
  /** Where jobs are kept, here or elsewhere; none: they are not offered. */
  jobs?: JobStore | ForwardJobs | undefined;
  /** Fetches pictures that stand in bodies by address; none: they are refused. */
  fetchPicture?: FetchPicture | undefined;
  /** GET /docs; none: it leads to /openapi.json. */
  reference?: Hono | undefined;
  /** Called after each request. */
  log?: AccessLog;
  /** Makes spans of requests; none: the caller's trace goes through. */
  tracing?: Tracing | undefined;
  /** Milliseconds an image request may take, waiting included; default: half an hour. */
  timeoutMs?: number;
  /** Milliseconds a streamed reply waits for the work to begin; default: ten seconds. */
  holdMs?: number;
}

/** The HTTP edge. Runs wherever there is fetch: it knows its sidecar only as a SidecarClient. */
export function createApp({
  sidecar,
  limits = {},
  guard: guardOptions = openGuard,
  cache: cacheOptions,
  jobs: store,
  fetchPicture,
  reference,
  log = () => {},
  tracing,
  timeoutMs = 30 * 60_000,
  holdMs,
}: AppOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.use(requestId());
  app.use(traceRequests(tracing));
  app.use(accessLog(log));
  app.use(...guard(guardOptions));
  app.onError((error, c) => errorResponse(c, toApiError(error, c.get('publicNames' as never))));
  app.notFound((c) => {
    const { method, path } = c.req;
    const allowed = methodsOf(app, path);
    const shown = path.length > 80 ? `${path.slice(0, 77)}…` : path;
    // A pattern's own route may have refused what stands in its place.
    if (allowed.length === 0 || allowed.includes(method))
      return errorResponse(c, new ApiError(404, 'route_not_found', `There is no ${method} ${shown}`));
    c.header('allow', allowed.join(', '));
    const message = `Expected ${allowed.join(' or ')} for ${shown} but received ${method}`;
    return errorResponse(c, new ApiError(405, 'method_not_allowed', message));
  });
  const cache = cacheOptions && new ResultCache(sidecar, cacheOptions);
  const all = { ...defaultLimits, ...limits };
  const images = { sidecar, cache, limits: all, fetchPicture, timeoutMs, holdMs };
  app.route('/', generations(images));
  app.route('/', edits(images));
  app.route('/', a1111(images));
  app.route('/', storedImages(cache));
  if (typeof store === 'function') app.route('/', forwardedJobs(store));
  else app.route('/', jobs({ store, limits: all, fetchPicture, timeoutMs }));
  app.route('/', models(sidecar));
  app.route('/', names(sidecar));
  app.route('/', health(sidecar));
  app.route('/', playground());
  if (reference) app.route('/', reference);
  else app.get('/docs', (c) => c.redirect('/openapi.json'));
  openapi(app);
  return app;
}

/** The methods that a path is there for: by its own name, or else by a pattern. */
function methodsOf(app: OpenAPIHono, path: string): string[] {
  const routes = app.routes.filter((route) => route.method !== 'ALL');
  const named = routes.filter((route) => route.path === path);
  const methods = (named.length > 0 ? named : routes)
    .filter((route) => {
      const [pattern, parts] = [route.path.split('/'), path.split('/')];
      return (
        pattern.length === parts.length &&
        pattern.every((part, i) => part === parts[i] || (part.startsWith(':') && parts[i] !== ''))
      );
    })
    .map(({ method }) => method);
  return [...new Set(methods)];
}
