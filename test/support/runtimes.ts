import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { nodeApp, nodeSettings } from '../../edge/node-app.ts';
import { listen } from '../../edge/server.ts';
import { type FakeServer, serveFake } from './fake-server.ts';
import { type FakeSidecar, fakeSidecar } from './fake-sidecar.ts';

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** A running edge, over HTTP, before a fake sidecar, over gRPC or gRPC-Web. */
export interface Edge {
  runtime: 'Node' | 'workerd';
  /** `http://127.0.0.1:PORT` */
  url: string;
  /** The global one, with paths instead of URLs. */
  fetch: (path: string, init?: RequestInit) => Promise<Response>;
  /** The sidecar behind it; `use` puts another in its place. */
  sidecar: FakeSidecar;
  use(sidecar: FakeSidecar): FakeSidecar;
  stop(): Promise<void>;
}

export interface Runtime {
  name: string;
  /** Why it cannot run here. */
  missing?: string | undefined;
  /**
   * The edge alone, before a sidecar that runs already.
   * @param env settings, as the environment or as bindings; a limit of requests as each runtime has it
   * @param more options of miniflare's, on workerd
   */
  connect(sidecar: Reached, env?: Record<string, string>, more?: object): Promise<Connected>;
  /** The edge and a fake sidecar. */
  start(env?: Record<string, string>, more?: object): Promise<Edge>;
}

/** Where a sidecar is: of gRPC `HOST:PORT`, of gRPC-Web `http://HOST:PORT`. */
export type Reached = Pick<FakeServer, 'address' | 'webUrl'>;
export type Connected = Pick<Edge, 'url' | 'fetch' | 'stop'>;

function runtime({ name, missing, connect }: Omit<Runtime, 'start'> & { name: Edge['runtime'] }): Runtime {
  return {
    ...{ name, missing, connect },
    async start(env, more) {
      const fake = await served();
      const connected = await connect(fake, env, more);
      return {
        ...{ ...connected, runtime: name, use: fake.use },
        get sidecar() {
          return fake.current();
        },
        async stop() {
          await connected.stop();
          fake.stop();
        },
      };
    },
  };
}

const connected = (url: string, stop: () => Promise<void>): Connected => ({
  ...{ url, stop },
  fetch: (path, init) => fetch(`${url}${path}`, init),
});

/** As `edge/node.ts` runs it, without its log. ARRIVAL_MS: finer than the setting. */
export const nodeRuntime = runtime({
  name: 'Node',
  async connect({ address }, { ARRIVAL_MS, ...env } = {}) {
    const settings = nodeSettings({ ...env, SIDECAR_ADDRESS: address });
    const { app, close } = nodeApp(settings, () => {});
    const arrivalMs = ARRIVAL_MS === undefined ? settings.arrivalMs : Number(ARRIVAL_MS);
    const { server, url } = await listen(app, { hostname: '127.0.0.1', port: 0, arrivalMs });
    return connected(url, async () => {
      server.close();
      server.closeAllConnections();
      close();
    });
  },
});

/** What is used of it here: its types are installed with it alone. */
type MiniflareClass = new (
  options: object,
) => {
  unsafeGetDirectURL(): Promise<URL>;
  dispose(): Promise<void>;
};

const packages = createRequire(at('edge/workers/package.json'));

/** Why nothing can be packed for Workers here. */
export const missingWrangler = existsSync(at('edge/workers/node_modules/wrangler'))
  ? undefined
  : 'wrangler is not installed (node sidecar/bin/setup.mjs --workers)';
let bundled: string | undefined;

/** As `npm run deploy` would put it on Workers, on workerd. */
export const workerdRuntime = runtime({
  name: 'workerd',
  missing: missing(),
  async connect({ webUrl }, { RATE_LIMIT_PER_MINUTE: perMinute, ...env } = {}, more = {}) {
    const { Miniflare } = packages('miniflare') as { Miniflare: MiniflareClass };
    const deployed = readFileSync(at('wrangler.toml'), 'utf8');
    const [, className] = /^new_sqlite_classes = \["(.*)"\]/m.exec(deployed)!;
    const mf = new Miniflare({
      modules: true,
      scriptPath: bundle(),
      compatibilityDate: /^compatibility_date = "(.*)"/m.exec(deployed)![1],
      compatibilityFlags: JSON.parse(/^compatibility_flags = (.*)/m.exec(deployed)![1]!),
      bindings: { SIDECAR_URL: webUrl, ALLOW_ANONYMOUS: 'true', ...env },
      durableObjects: { JOBS: { className, useSQLite: true } },
      // Not through miniflare's own worker, which does not tell of clients who leave.
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      ...(perMinute && { ratelimits: { RATE_LIMIT: { simple: { limit: Number(perMinute), period: 60 } } } }),
      ...{ cf: false, ...more },
    });
    const url = (await mf.unsafeGetDirectURL()).href.replace(/\/$/, '');
    return connected(url, () => mf.dispose());
  },
});

/** What `wrangler deploy` would upload, made once. */
export function bundle(): string {
  if (bundled) return bundled;
  const wrangler = packages.resolve('wrangler/package.json').replace('package.json', 'bin/wrangler.js');
  // Several test files may pack it at once.
  const out = at(`test/.cache/worker-${process.env.VITEST_WORKER_ID ?? 0}`);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [wrangler, 'deploy', '--dry-run', '--outdir', out],
    { cwd: at('.'), encoding: 'utf8', env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' } },
  );
  if (status !== 0) throw new Error(`wrangler deploy --dry-run failed:\n${stdout}${stderr}`);
  bundled = `${out}/worker.js`;
  return bundled;
}

function missing(): string | undefined {
  if (!existsSync(at('edge/workers/node_modules/miniflare')))
    return 'miniflare is not installed (node sidecar/bin/setup.mjs --workers)';
  const workerd = packages('workerd') as { default: string };
  const { status, stderr, error } = spawnSync(workerd.default, ['--version'], { encoding: 'utf8' });
  return status === 0 ? undefined : `workerd does not run here: ${error?.message ?? stderr}`;
}

async function served() {
  let current = fakeSidecar();
  const server = await serveFake(() => current);
  return {
    ...server,
    current: () => current,
    use: (sidecar: FakeSidecar) => {
      current = sidecar;
      return sidecar;
    },
  };
}
