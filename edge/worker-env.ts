import { type Environment, list, text } from './config.ts';
import type { RateLimitBinding } from './guard/rate.ts';
import type { SidecarClient } from './sidecar/client.ts';
import { grpcWebSidecar } from './sidecar/grpc-web.ts';
import { sidecarPool } from './sidecar/pool.ts';

/** Variables, secrets and bindings of the edge on Workers. docs/deployment.md lists them; wrangler.toml has them. */
export interface WorkerEnv extends Environment {
  /** `http://HOST:PORT` of a sidecar's gRPC-Web bridge, or several, separated by commas. */
  SIDECAR_URL: string;
  /** A binding to a private network that the sidecars are in. */
  SIDECAR_NETWORK?: { fetch: typeof fetch };
  RATE_LIMIT?: RateLimitBinding;
  /** Durable Objects of the class CallerJobs; none: jobs are not offered. */
  JOBS?: ObjectNamespace;
}

/** Of Durable Objects, as much as is used of it. */
interface ObjectNamespace {
  idFromName(name: string): object;
  get(id: object): { fetch(request: Request): Promise<Response> };
}

export function workerSidecar(env: WorkerEnv): SidecarClient {
  return sidecarPool(list(env, 'SIDECAR_URL').map((url) => grpcWebSidecar(url, optionsOf(env))));
}

/** What the bridge asks for, and Cloudflare Access before it. */
function optionsOf(env: WorkerEnv) {
  const token = text(env, 'SIDECAR_TOKEN');
  const [id, secret] = [text(env, 'CF_ACCESS_CLIENT_ID'), text(env, 'CF_ACCESS_CLIENT_SECRET')];
  const headers = {
    ...(token && { authorization: `Bearer ${token}` }),
    ...(id && secret && { 'cf-access-client-id': id, 'cf-access-client-secret': secret }),
  };
  const network = env.SIDECAR_NETWORK;
  return { headers, fetch: network && ((...args: Parameters<typeof fetch>) => network.fetch(...args)) };
}
