import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ROOT } from '../root.ts';

export interface EdgeUnderLoad {
  /** `127.0.0.1:PORT` of the sidecar that answers at once. */
  address: string;
  /** `http://127.0.0.1:PORT` of the edge. */
  url: string;
  /** `http://127.0.0.1:PORT`, where its PNG is served over HTTP without an edge. */
  bareUrl: string;
  /** Bytes of its PNG. */
  pngBytes: number;
  /** Resident memory of the edge's process, MiB. */
  rss: () => number;
  stop: () => void;
}

const at = (path: string) => join(ROOT, 'dist', path);

/** What `npm start` has the edge's memory kept by. */
export const allocator: Record<string, string> = JSON.parse(
  readFileSync(join(ROOT, 'edge/allocator.json'), 'utf8'),
);

/** The edge as `npm start` runs it and a sidecar that answers at once, each in a process of its own. */
export async function startEdge(): Promise<EdgeUnderLoad> {
  const sidecar = fork(at('bench/edge/instant-sidecar.js'), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  type Told = Record<'port' | 'barePort' | 'bytes', number>;
  const { port, barePort, bytes } = await new Promise<Told>((resolve, reject) => {
    sidecar.once('message', (message) => resolve(message as never));
    sidecar.once('exit', () => reject(new Error('The sidecar ended before it listened')));
  });
  const address = `127.0.0.1:${port}`;
  const own = await freePort();
  const edge = fork(at('edge/node.js'), {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: { ...allocator, ...process.env, HOST: '127.0.0.1', PORT: String(own), SIDECAR_ADDRESS: address },
  });
  const url = `http://127.0.0.1:${own}`;
  await untilHealthy(url, edge);
  return {
    ...{ address, url, bareUrl: `http://127.0.0.1:${barePort}`, pngBytes: bytes },
    rss: () => residentMiB(edge.pid!),
    stop: () => {
      edge.kill();
      sidecar.kill();
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function untilHealthy(url: string, edge: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (edge.exitCode !== null) throw new Error(`The edge ended with status ${edge.exitCode}`);
    const response = await fetch(`${url}/healthz`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('The edge was not ready within 20 s');
}

/** From Linux's /proc. */
function residentMiB(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return Number(kib) / 1024;
}
