import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { sidecarPool } from '../../edge/sidecar/pool.ts';

// Two sidecars behind one edge: what comes twice, and one of them killed while it works.

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

let sidecars: Awaited<ReturnType<typeof start>>[];
let clients: ReturnType<typeof grpcSidecar>[];
let pool: ReturnType<typeof sidecarPool>;
let ask: (body: object) => Promise<{ status: number; code: string | undefined }>;
beforeAll(async () => {
  sidecars = await Promise.all([start(), start()]);
  clients = sidecars.map(({ address }) => grpcSidecar(address));
  pool = sidecarPool(clients);
  const app = createApp({ sidecar: pool });
  ask = async (body) => {
    const response = await app.request('/v1/images/generations', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', steps: 4, ...body }),
    });
    const reply = (await response.json()) as { data?: unknown[]; error?: { code: string } };
    return { status: response.status, code: reply.error?.code };
  };
}, 60_000);
afterAll(() => {
  pool?.close();
  for (const { child } of sidecars ?? []) child.kill('SIGKILL');
});

it('runs once what comes four times, seed included, at once', async () => {
  const info = () => Promise.all(clients.map((client) => client.deviceInfo()));
  const stepsRun = async () => (await info()).reduce((sum, each) => sum + each.stepsRun, 0);
  // Each does a step by itself before.
  const areReady = async () => (await info()).every(({ ready }) => ready);
  await expect.poll(areReady, { timeout: 30_000 }).toBe(true);
  const before = await stepsRun();
  const steps = 100;
  const answers = await Promise.all([1, 2, 3, 4].map(() => ask({ seed: 7, steps })));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect((await stepsRun()) - before).toBe(steps);
}, 120_000);

it('answers every request when one of two is killed', async () => {
  let done = 0;
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, seed) => {
      const answer = await ask({ seed });
      if (++done === 10) sidecars[0]!.child.kill('SIGKILL');
      return answer;
    }),
  );
  const failed = answers.filter(({ status }) => status !== 200);
  // Those that had done a step there, two at once, or whose pictures were on their way; none without an answer.
  expect(failed.length).toBeLessThanOrEqual(4);
  for (const { status, code } of failed) expect([status, code]).toEqual([503, 'sidecar_unreachable']);
  // And it goes on with the other.
  expect((await ask({ seed: 100 })).status).toBe(200);
});
