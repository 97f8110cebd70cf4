import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { sidecarPool } from '../../edge/sidecar/pool.ts';

// Two sidecars behind one edge, and one of them killed while it works.

const SCRIPT = fileURLToPath(new URL('../../sidecar/bin/latent-edge.mjs', import.meta.url));

async function start() {
  const limits = { LATENT_EDGE_THREADS: '1', LATENT_EDGE_CONCURRENCY: '2', LATENT_EDGE_QUEUE_LIMIT: '1000' };
  const env = { ...process.env, GRPC_PORT: '0', ...limits };
  const child = fork(SCRIPT, ['serve', '--preload'], { env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let output = '';
  const address = await new Promise<string>((resolve, reject) => {
    child.once('exit', () => reject(new Error(output)));
    child.stderr!.on('data', (chunk) => {
      output += chunk;
      const found = /grpc:\/\/(\S+)/.exec(output);
      if (found) resolve(found[1]!);
    });
  });
  return { child, address };
}

it('answers every request when one of two is killed', async () => {
  const sidecars = await Promise.all([start(), start()]);
  try {
    const pool = sidecarPool(sidecars.map(({ address }) => grpcSidecar(address)));
    const app = createApp({ sidecar: pool });
    let done = 0;
    const ask = async (seed: number) => {
      const response = await app.request('/v1/images/generations', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', seed, steps: 4 }),
      });
      const body = (await response.json()) as { data?: unknown[]; error?: { code: string } };
      if (++done === 10) sidecars[0]!.child.kill('SIGKILL');
      return { status: response.status, code: body.error?.code };
    };
    const answers = await Promise.all(Array.from({ length: 40 }, (_, seed) => ask(seed)));
    const failed = answers.filter(({ status }) => status !== 200);
    // Those that had done a step there, two at once, or whose pictures were on their way; none without an answer.
    expect(failed.length).toBeLessThanOrEqual(4);
    for (const { status, code } of failed) expect([status, code]).toEqual([503, 'sidecar_unreachable']);
    // And it goes on with the other.
    expect((await ask(100)).status).toBe(200);
    pool.close();
  } finally {
    for (const { child } of sidecars) child.kill('SIGKILL');
  }
});
