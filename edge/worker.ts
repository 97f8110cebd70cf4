import type { OpenAPIHono } from '@hono/zod-openapi';
import { createApp } from './app.ts';
import { grpcWebSidecar } from './sidecar/grpc-web.ts';
import { sidecarPool } from './sidecar/pool.ts';

// The edge on Cloudflare Workers. wrangler.toml binds what `Env` names.

interface Env {
  /** `http://HOST:PORT` of a sidecar's gRPC-Web bridge, or several, separated by commas. */
  SIDECAR_URL: string;
}

let app: OpenAPIHono | undefined;

function appOf(env: Env): OpenAPIHono {
  const urls = env.SIDECAR_URL.split(',').map((url) => url.trim());
  return createApp({ sidecar: sidecarPool(urls.map((url) => grpcWebSidecar(url))) });
}

export default {
  fetch(request: Request, env: Env, context: never): Response | Promise<Response> {
    // Bindings stay as they are for as long as an isolate lives.
    app ??= appOf(env);
    return app.fetch(request, env, context);
  },
};
