import { readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { type Client, connectivityState } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { SidecarClient } from '../../edge/sidecar/client.ts';
import { connecting } from '../../edge/sidecar/connecting.ts';
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
  const silent = grpcSidecar(address, { keepalive: 0.5 });
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

const pem = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));
const tls = { ca: pem('ca'), serverName: 'sidecar.test' };
it.each([
  ['plainly', undefined, (take: (socket: Socket) => void) => createServer(take)],
  ['where TLS is to be', tls, (take: (socket: Socket) => void) => createServer(take)],
  [
    'within TLS',
    tls,
    (take: (socket: Socket) => void) =>
      createTlsServer({ cert: pem('server'), key: pem('server-key'), ALPNProtocols: ['h2'] }, take),
  ],
])(
  'who says nothing %s has one connection at most, and none once the client is closed',
  {
    timeout: 120_000,
  },
  async (_, tls, serve) => {
    let taken = 0;
    const open = new Set<Socket>();
    const silent = serve((socket) => {
      taken++;
      open.add(socket);
      // It would see its end, had it one.
      socket.on('error', () => {}).on('close', () => open.delete(socket));
      socket.resume();
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as { port: number };
    const sidecar = grpcSidecar(`127.0.0.1:${port}`, { keepalive: 0.1, tls });
    await expect(sidecar.listModels()).rejects.toMatchObject({ code: 'sidecar_unreachable' });
    await expect.poll(() => taken, { timeout: 60_000 }).toBeGreaterThan(3);
    await expect.poll(() => open.size, { timeout: 60_000 }).toBeLessThanOrEqual(1);
    sidecar.close();
    await expect.poll(() => open.size, { timeout: 60_000 }).toBe(0);
    silent.close();
  },
);

it.each([
  ['plainly', undefined],
  ['within TLS', tls],
])('who speaks %s goes on with a call under way when the client is closed', async (_, tls) => {
  const fake = fakeSidecar({ steps: 3, pauseAfter: 1 });
  const server = await serveFake(() => fake, {
    ...(tls && { tls: { cert: pem('server'), key: pem('server-key') } }),
  });
  const sidecar = grpcSidecar(server.address, { tls });
  const events = [];
  for await (const { event } of sidecar.generate({ prompt: 'x', seeds: [1] })) {
    events.push(event);
    if (event !== 'progress') continue;
    sidecar.close();
    // What a connection that is ended at once would lose.
    await new Promise((resolve) => setImmediate(resolve));
    fake.go();
  }
  expect(events).toEqual(['queued', 'progress', 'progress', 'progress', 'result']);
  server.stop();
});

describe('a connection that does not come about', () => {
  afterEach(() => vi.useRealTimers());

  it('is waited for twice as long each time, up to four times, and as at first once there has been one', () => {
    vi.useFakeTimers();
    let state = connectivityState.CONNECTING;
    let closed = 0;
    const opened: number[] = [];
    const began = Date.now();
    const { client, close } = connecting(() => {
      opened.push(Date.now() - began);
      const channel = { getConnectivityState: () => state };
      return { client: { getChannel: () => channel } as unknown as Client, close: () => closed++ };
    }, 100);
    client();
    vi.advanceTimersByTime(1600);
    expect(opened).toEqual([0, 100, 300, 700, 1100, 1500]);
    expect(closed).toBe(5);
    expect(client).toThrow('cannot be reached');

    state = connectivityState.READY;
    vi.advanceTimersByTime(100);
    client();
    state = connectivityState.CONNECTING;
    client();
    vi.advanceTimersByTime(600);
    expect(opened.slice(6).length).toBeGreaterThan(1);
    const [first, second] = opened.slice(6);
    expect([first! - 1700, second! - first!]).toEqual([100, 200]);
    close();
    expect(vi.getTimerCount()).toBe(0);
  });
});
