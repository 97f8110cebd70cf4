import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SidecarClient } from '../../edge/sidecar/client.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { sidecarPool } from '../../edge/sidecar/pool.ts';
import { type FakeServer, serveFake } from '../support/fake-server.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

// Before a sidecar, somebody who takes connections: at first without a word, as a process that hangs, then for it.

const fake = fakeSidecar();
const sockets: Socket[] = [];
let server: FakeServer;
let isThere = false;
let before: Server;
let address: string;
beforeAll(async () => {
  server = await serveFake(() => fake);
  before = createServer((here) => {
    sockets.push(here.on('error', () => {}));
    if (!isThere) return;
    const there = connect(Number(server.address.split(':')[1]), '127.0.0.1');
    sockets.push(there.on('error', () => {}));
    here.pipe(there).pipe(here);
  });
  await new Promise<void>((resolve) => before.listen(0, '127.0.0.1', resolve));
  address = `127.0.0.1:${(before.address() as { port: number }).port}`;
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  before.close();
  server.stop();
});

async function generate(sidecar: SidecarClient): Promise<number> {
  let events = 0;
  for await (const _ of sidecar.generate({ prompt: 'x', seeds: [1] })) events++;
  return events;
}

it('who takes a connection and says nothing is waited for once, passed over, and found again', {
  timeout: 120_000,
}, async () => {
  isThere = false;
  const silent = grpcSidecar(address, { keepalive: 1 });
  const pool = sidecarPool([silent, grpcSidecar(server.address)]);
  const first = generate(pool);
  await expect.poll(() => sockets.length, { timeout: 60_000 }).toBe(1);
  expect(await first).toBeGreaterThan(0);
  // From now on nothing is waited for, a word from the network no more than a timer.
  const calls = [() => silent.listModels(), () => silent.deviceInfo(), () => generate(silent)];
  for (const call of calls) {
    const late = new Promise((resolve) => setImmediate(resolve, 'late'));
    const failed = call().catch((error) => error);
    expect(await Promise.race([failed, late])).toMatchObject({
      code: 'sidecar_unreachable',
      httpStatus: 503,
    });
  }
  for (let round = 0; round < 4; round++) expect(await generate(pool)).toBeGreaterThan(0);
  // It is looked for without a call too.
  await expect.poll(() => sockets.length, { timeout: 60_000 }).toBeGreaterThan(2);

  isThere = true;
  await expect.poll(() => generate(silent).catch(() => 0), { timeout: 60_000 }).toBeGreaterThan(0);
  pool.close();
});
