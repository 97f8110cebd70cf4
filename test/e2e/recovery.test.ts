import { afterEach, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import type { SidecarClient } from '../../edge/sidecar/client.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { type RunningServer, serve } from '../../sidecar/main.ts';

// The edge and its sidecar on a bad day.

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

async function startSidecar(port = 0): Promise<RunningServer> {
  const engine = await Engine.open({ folders: await modelFolders() });
  return serve(engine, { host: '127.0.0.1', port });
}

/** Until a request has come to the sidecar and is at work. */
const atWork = (sidecar: SidecarClient) =>
  expect.poll(async () => (await sidecar.deviceInfo()).running, { interval: 5 }).toBe(1);

function startEdge(address: string, timeoutMs?: number) {
  const sidecar = grpcSidecar(address);
  cleanUp.push(() => sidecar.close());
  const app = createApp({ sidecar, timeoutMs });
  const generate = (body: object) =>
    app.request('/v1/images/generations', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', ...body }),
    });
  return { app, sidecar, generate };
}

it('finds a sidecar again that was restarted', async () => {
  const first = await startSidecar();
  const { generate, app } = startEdge(first.address);
  expect((await generate({ steps: 1 })).status).toBe(200);
  await first.stop(1000);

  const refused = await generate({ steps: 1 });
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({
    error: { code: 'sidecar_unreachable', type: 'server_error' },
  });
  expect((await app.request('/healthz')).status).toBe(503);

  const second = await startSidecar(Number(first.address.split(':')[1]));
  cleanUp.push(() => second.stop(1000));
  await expect.poll(async () => (await app.request('/healthz')).status, { timeout: 10_000 }).toBe(200);
  expect((await generate({ steps: 1 })).status).toBe(200);
});

it('says 504 when a request takes too long, and its work ends', async () => {
  const server = await startSidecar();
  cleanUp.push(() => server.stop(1000));
  // Loads the model, which may take longer than the deadline.
  await startEdge(server.address).generate({ steps: 1 });
  const { generate, sidecar } = startEdge(server.address, 300);
  const late = await generate({ steps: 1000 });
  expect(late.status).toBe(504);
  expect(await late.json()).toMatchObject({ error: { code: 'deadline_exceeded' } });
  // Refused at once, or while it runs, by what is known of its time.
  const patient = startEdge(server.address, 3000);
  expect(await (await patient.generate({ steps: 1000, stream: true })).text()).toContain('deadline_exceeded');
  await expect.poll(async () => (await sidecar.deviceInfo()).running).toBe(0);
});

it('finishes what is in flight when it is stopped, and takes nothing new', async () => {
  const server = await startSidecar();
  const { generate, sidecar } = startEdge(server.address);
  await generate({ steps: 1 });
  const running = generate({ steps: 100 });
  await atWork(sidecar);
  const stopped = server.stop(60_000);
  expect((await generate({ steps: 1 })).status).toBe(503);
  expect((await running).status).toBe(200);
  await stopped;
});

it('ends what is left when its time is over', async () => {
  const server = await startSidecar();
  const { generate, sidecar } = startEdge(server.address);
  await generate({ steps: 1 });
  const running = generate({ steps: 1000 });
  await atWork(sidecar);
  await server.stop(200);
  const response = await running;
  expect([response.status, (await response.json()).error.code]).toEqual([503, 'shutting_down']);
});
