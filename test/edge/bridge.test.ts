import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SidecarClient, SidecarError } from '../../edge/sidecar/client.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { grpcWebSidecar } from '../../edge/sidecar/grpc-web.ts';
import { sidecarPool } from '../../edge/sidecar/pool.ts';
import { startBridge } from '../../sidecar/bridge.ts';
import { type FakeServer, serveFake } from '../support/fake-server.ts';
import { type FakeSidecar, fakeSidecar } from '../support/fake-sidecar.ts';

let fake: FakeSidecar = fakeSidecar();
let server: FakeServer;
const clients: Record<string, SidecarClient> = {};
beforeAll(async () => {
  server = await serveFake(() => fake);
  clients.gRPC = grpcSidecar(server.address);
  clients['gRPC-Web'] = grpcWebSidecar(server.webUrl);
});
afterAll(() => {
  for (const client of Object.values(clients)) client.close();
  server.stop();
});

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const event of events) list.push(event);
  return list;
}

const asked = { prompt: 'x', seeds: [7, Number.MAX_SAFE_INTEGER], guidanceScale: 0, previewCount: 1 };

describe.each(['gRPC', 'gRPC-Web'])('a sidecar over %s', (transport) => {
  const client = () => clients[transport]!;

  it('streams what the sidecar sends', async () => {
    fake = fakeSidecar();
    const events = await all(client().generate(asked, { requestId: 'abc' }));
    expect(events.map(({ event }) => event)).toEqual(['queued', ...Array(4).fill('progress'), 'result']);
    const { images, effective } = events.at(-1)!.result!;
    expect(images.map(({ seed }) => seed)).toEqual(asked.seeds);
    expect(effective).toMatchObject({ model: 'tiny', guidanceScale: 0, sizeConditioning: null });
    expect(fake.requests[0]).toMatchObject(asked);
    expect(fake.options[0]!.requestId).toBe('abc');
  });

  it('lists models and devices', async () => {
    fake = fakeSidecar();
    expect(await client().listModels()).toMatchObject([{ name: 'tiny', created: 1_700_000_000 }]);
    expect(await client().deviceInfo()).toMatchObject({ queueLimit: 8, stepsRun: 0 });
  });

  it('carries messages of many megabytes', async () => {
    fake = fakeSidecar();
    const initImage = Buffer.alloc(6 * 2 ** 20, 7);
    await all(client().generate({ ...asked, initImage }));
    expect(initImage.equals(fake.requests[0]!.initImage as Buffer)).toBe(true);
  });

  it.each([undefined, 0, 2])("tells the sidecar's error, after %s steps", async (afterSteps) => {
    const details = { code: 'queue_full', httpStatus: 429, field: 'seeds', retryAfterMs: 1500 };
    fake = fakeSidecar({ fail: { error: new SidecarError('Grün: 50 %', details), afterSteps } });
    const error = await all(client().generate(asked)).catch((error) => error);
    expect(error).toBeInstanceOf(SidecarError);
    expect(error).toMatchObject({ message: 'Grün: 50 %', ...details });
  });

  it('ends with its deadline', async () => {
    fake = fakeSidecar({ steps: 1000, stepMs: 5 });
    const error = await all(client().generate(asked, { timeoutMs: 100 })).catch((error) => error);
    expect(error).toMatchObject({ code: 'deadline_exceeded', httpStatus: 504 });
    await expect.poll(() => fake.cancelled).toBe(1);
  });

  it('stops the work when its caller leaves', async () => {
    for (const leave of ['abort', 'break']) {
      // The third step does not end by itself.
      fake = fakeSidecar({ steps: 1000, pauseAfter: 2 });
      const left = new AbortController();
      const events = client().generate(asked, { signal: left.signal });
      const read = (async () => {
        for await (const { progress } of events) {
          if (progress?.step === 2 && leave === 'break') break;
          if (progress?.step === 2) left.abort();
        }
      })();
      const error = await read.catch((error) => error);
      if (leave === 'abort') expect(error).toMatchObject({ code: 'cancelled', httpStatus: 499 });
      else expect(error).toBeUndefined();
      await expect.poll(() => fake.cancelled).toBe(1);
      expect(fake.steps).toBe(2);
    }
  });

  it('refuses a request larger than the sidecar takes', async () => {
    const small = await serveFake(() => fake, { maxBytes: 1000 });
    const client = transport === 'gRPC' ? grpcSidecar(small.address) : grpcWebSidecar(small.webUrl);
    const error = await all(client.generate({ prompt: 'x'.repeat(2000) })).catch((error) => error);
    expect(error).toMatchObject({ code: 'message_too_large', httpStatus: 413 });
    client.close();
    small.stop();
  });

  it('says that nobody is there', async () => {
    const gone = await serveFake(() => fake);
    gone.stop();
    const client = transport === 'gRPC' ? grpcSidecar(gone.address) : grpcWebSidecar(gone.webUrl);
    const unreachable = { code: 'sidecar_unreachable', httpStatus: 503 };
    expect(await all(client.generate(asked)).catch((error) => error)).toMatchObject(unreachable);
    expect(await client.listModels().catch((error) => error)).toMatchObject(unreachable);
    client.close();
  });
});

describe('the bridge', () => {
  /** The status that a request is answered with. */
  const knock = (url: string, method: string, headers: Record<string, string>) =>
    new Promise<number>((resolve, reject) => {
      const path = '/latentedge.v1.Diffusion/ListModels';
      const call = request(`${url}${path}`, { method, headers }, (reply) => {
        reply.resume();
        resolve(reply.statusCode!);
      });
      call.on('error', reject);
      call.end(method === 'POST' ? Buffer.alloc(5) : undefined);
    });

  const grpcWeb = { 'content-type': 'application/grpc-web+proto' };

  it('takes nothing but gRPC-Web, and nothing from browsers', async () => {
    fake = fakeSidecar();
    expect(await knock(server.webUrl, 'POST', grpcWeb)).toBe(200);
    expect(await knock(server.webUrl, 'GET', grpcWeb)).toBe(405);
    expect(await knock(server.webUrl, 'POST', { 'content-type': 'text/plain' })).toBe(415);
    expect(await knock(server.webUrl, 'POST', { ...grpcWeb, origin: 'http://localhost' })).toBe(403);
    expect(await knock(server.webUrl, 'POST', { ...grpcWeb, 'sec-fetch-site': 'same-origin' })).toBe(403);
  });

  it('says that there is no room in headers, where a proxy can read it', async () => {
    fake = fakeSidecar({
      fail: { error: new SidecarError('Full', { code: 'queue_full', httpStatus: 429 }) },
    });
    const reply = await fetch(`${server.webUrl}/latentedge.v1.Diffusion/Generate`, {
      ...{ method: 'POST', headers: grpcWeb, body: Buffer.alloc(5) },
    });
    expect([reply.headers.get('grpc-status'), await reply.text()]).toEqual(['8', '']);
    fake = fakeSidecar();
  });

  it('asks for its token', async () => {
    const guarded = await serveFake(() => fake, { token: 'secret' });
    for (const authorization of ['', 'Bearer', 'Bearer secres', 'secret', 'Bearer secret2'])
      expect(await knock(guarded.webUrl, 'POST', { ...grpcWeb, authorization })).toBe(401);
    const headers = { authorization: 'Bearer secret' };
    expect(await grpcWebSidecar(guarded.webUrl, { headers }).listModels()).toHaveLength(1);
    expect(
      await grpcWebSidecar(guarded.webUrl)
        .listModels()
        .catch((error) => error),
    ).toMatchObject({
      httpStatus: 502,
    });
    guarded.stop();
  });

  it('gives up a call when its caller goes away in the middle of its request', async () => {
    fake = fakeSidecar();
    const call = request(`${server.webUrl}/latentedge.v1.Diffusion/Generate`, {
      method: 'POST',
      headers: grpcWeb,
    });
    call.on('error', () => {});
    call.write(Buffer.from([0, 0, 0, 0, 99, 1]));
    await new Promise((resolve) => setTimeout(resolve, 50));
    call.destroy();
    expect(await clients['gRPC-Web']!.listModels()).toHaveLength(1);
    expect(fake.requests).toEqual([]);
  });

  it('loses nothing of a reply that is read slowly', async () => {
    fake = fakeSidecar({ steps: 200 });
    let steps = 0;
    for await (const { progress } of clients['gRPC-Web']!.generate({ ...asked, previewCount: 16 })) {
      if (progress) steps++;
      if (steps % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(steps).toBe(200);
  });

  it('finds a server again that was restarted', async () => {
    fake = fakeSidecar();
    const first = await serveFake(() => fake);
    const bridge = await startBridge({ host: '127.0.0.1', port: 0, target: `http://${first.address}` });
    const client = grpcWebSidecar(`http://127.0.0.1:${bridge.port}`);
    expect(await client.listModels()).toHaveLength(1);
    first.stop();
    await expect(client.listModels()).rejects.toMatchObject({ code: 'sidecar_unreachable' });
    const second = await serveFake(() => fake, { port: Number(first.address.split(':')[1]) });
    expect(await client.listModels()).toHaveLength(1);
    bridge.destroy();
    second.stop();
  });
});

describe('several sidecars', () => {
  it('go round, and one that is gone is passed over', async () => {
    const fakes = [fakeSidecar(), fakeSidecar()];
    const [a, b] = await Promise.all(fakes.map((each) => serveFake(() => each)));
    const pool = sidecarPool([grpcSidecar(a!.address), grpcWebSidecar(b!.webUrl)]);
    for (let i = 0; i < 4; i++) await all(pool.generate(asked));
    expect(fakes.map(({ requests }) => requests.length)).toEqual([2, 2]);
    expect(await pool.deviceInfo()).toMatchObject({ stepsRun: 16, queueLimit: 16 });
    a!.stop();
    for (let i = 0; i < 4; i++) await all(pool.generate(asked));
    expect(fakes[1]!.requests).toHaveLength(6);
    expect(await pool.listModels()).toHaveLength(1);
    expect(await pool.deviceInfo()).toMatchObject({ queueLimit: 8 });
    b!.stop();
    expect(await all(pool.generate(asked)).catch((error) => error)).toMatchObject({ httpStatus: 503 });
    expect(await pool.deviceInfo().catch((error) => error)).toMatchObject({ httpStatus: 503 });
    pool.close();
  });

  it('do not run what has begun a second time', async () => {
    const error = new SidecarError('Gone', { code: 'shutting_down', httpStatus: 503 });
    const fakes = [fakeSidecar({ fail: { error, afterSteps: 2 } }), fakeSidecar()];
    const failed = await all(sidecarPool(fakes).generate(asked)).catch((error) => error);
    expect(failed).toBe(error);
    expect(fakes[1]!.requests).toEqual([]);
  });
});
