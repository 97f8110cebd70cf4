import type { Context, MiddlewareHandler } from 'hono';
import { routePath } from 'hono/route';
import { type Trace, type Tracing, traceHeaders } from '../proto/tracing/index.ts';
import type { CallOptions, SidecarClient, SidecarError } from './sidecar/client.ts';

const SERVICE = 'latentedge.v1.Diffusion';

/**
 * A span for each request, within the caller's trace (`traceparent`). Without tracing the caller's trace goes on to the
 * sidecar as it came.
 */
export function traceRequests(tracing: Tracing | undefined): MiddlewareHandler {
  return async (c, next) => {
    const headers = traceHeaders((name) => c.req.header(name));
    if (!tracing || c.req.path === '/healthz') {
      c.set('trace', { headers });
      return next();
    }
    const { method, path } = c.req;
    const span = tracing.start(method, {
      ...{ kind: 'server', within: { headers } },
      attributes: {
        'http.request.method': method,
        'url.path': path,
        'url.scheme': new URL(c.req.url).protocol.slice(0, -1),
        'latent_edge.request_id': c.get('requestId') as string,
      },
    });
    c.set('trace', span);
    await next();
    const route = routePath(c, -1);
    if (!route.includes('*')) {
      span.rename(`${method} ${route}`);
      span.set({ 'http.route': route });
    }
    span.set({ 'http.response.status_code': c.res.status });
    span.end(c.res.status >= 500 ? String(c.res.status) : undefined);
  };
}

/** The trace that a request belongs to. */
export function traceOf(c: Context): Trace | undefined {
  return c.get('trace' as never);
}

/** A sidecar whose calls for a request have spans: each attempt its own. */
export function tracedSidecar(sidecar: SidecarClient, address: string, tracing: Tracing): SidecarClient {
  const start = (method: string, { trace }: CallOptions) =>
    tracing.start(`${SERVICE}/${method}`, {
      ...{ kind: 'client', within: trace },
      attributes: {
        'rpc.system': 'grpc',
        'rpc.service': SERVICE,
        'rpc.method': method,
        'server.address': address,
      },
    });
  async function unary<T>(
    method: string,
    options: CallOptions,
    call: (options: CallOptions) => Promise<T>,
  ): Promise<T> {
    if (!options.trace?.span) return call(options);
    const span = start(method, options);
    try {
      const reply = await call({ ...options, trace: span });
      span.end();
      return reply;
    } catch (error) {
      span.end((error as SidecarError).code);
      throw error;
    }
  }
  return {
    async *generate(request, options = {}) {
      if (!options.trace?.span) return yield* sidecar.generate(request, options);
      const span = start('Generate', options);
      try {
        yield* sidecar.generate(request, { ...options, trace: span });
      } catch (error) {
        span.end((error as SidecarError).code);
        throw error;
      } finally {
        span.end();
      }
    },
    listModels: (options = {}) => unary('ListModels', options, sidecar.listModels),
    deviceInfo: (options = {}) => unary('DeviceInfo', options, sidecar.deviceInfo),
    listNames: (options = {}) => unary('ListNames', options, sidecar.listNames),
    preprocess: (request, options = {}) =>
      unary('Preprocess', options, (traced) => sidecar.preprocess(request, traced)),
    close: () => sidecar.close(),
  };
}
