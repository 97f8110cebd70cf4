import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type GenerateRequest, SidecarError } from '../../edge/sidecar/client.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { type FakeServer, serveFake } from '../support/fake-server.ts';
import { type FakeSidecar, fakeSidecar } from '../support/fake-sidecar.ts';

// Several sidecars behind one name: those that have no room.

const asked = { prompt: 'x', seeds: [1], steps: 3 };
const full = (retryAfterMs: number) =>
  fakeSidecar({
    fail: { error: new SidecarError('Full', { code: 'queue_full', httpStatus: 429, retryAfterMs }) },
  });

const COUNT = 3;
const fakes: FakeSidecar[] = [];
const servers: FakeServer[] = [];
let sidecar: ReturnType<typeof grpcSidecar>;
beforeEach(() => {
  fakes.splice(0, COUNT, full(9000), full(500), full(2000));
});
beforeAll(async () => {
  for (let i = 0; i < COUNT; i++) servers.push(await serveFake(() => fakes[i]!));
  sidecar = grpcSidecar(`ipv4:${servers.map(({ address }) => address).join(',')}`);
});
afterAll(() => {
  sidecar?.close();
  for (const server of servers) server.stop();
});

async function generate(options = {}, request: GenerateRequest = asked): Promise<string[]> {
  const all = [];
  for await (const { event } of sidecar.generate(request, options)) all.push(event!);
  return all;
}

/** Until each has a connection. */
async function untilReady(): Promise<void> {
  const seen = new Set<number>();
  const reached = async () => {
    await generate().catch(() => {});
    for (const [i, { requests }] of fakes.entries()) if (requests.length > 0) seen.add(i);
    return seen.size;
  };
  await expect.poll(reached, { timeout: 30_000 }).toBe(COUNT);
  for (const { requests } of fakes) requests.length = 0;
}

it('each is asked once, and the least time to wait is told', async () => {
  await untilReady();
  const failed = await Promise.all(Array.from({ length: 20 }, () => generate().catch((error) => error)));
  for (const error of failed)
    expect(error).toMatchObject({ code: 'queue_full', httpStatus: 429, retryAfterMs: 500 });
  expect(fakes.map(({ requests }) => requests.length)).toEqual([20, 20, 20]);
  await expect(sidecar.preprocess({ preprocessor: 'canny' })).rejects.toMatchObject({ retryAfterMs: 500 });
});

it('who has room does the work, and nobody else any', async () => {
  await untilReady();
  fakes[2] = fakeSidecar();
  const all = await Promise.all(Array.from({ length: 20 }, () => generate()));
  for (const events of all) expect(events).toEqual(['queued', 'progress', 'progress', 'progress', 'result']);
  expect(fakes[2].requests).toHaveLength(20);
  expect(fakes.map(({ steps }) => steps)).toEqual([0, 0, 60]);
  for (let i = 0; i < COUNT; i++) await sidecar.preprocess({ preprocessor: 'canny' });
  expect(fakes[2].preprocessed).toHaveLength(COUNT);
});

it('what is sent again goes to the same one, and while that has no room to the same other one', async () => {
  await untilReady();
  for (let i = 0; i < COUNT; i++) fakes[i] = fakeSidecar();
  const counts = () => fakes.map(({ requests }) => requests.splice(0).length);
  for (const options of [{ isSeeded: true }, { idempotencyKey: 'a-key' }]) {
    const several = () => Promise.all(Array.from({ length: 5 }, () => generate(options)));
    await several();
    const before = counts();
    expect(before.toSorted()).toEqual([0, 0, 5]);
    const home = before.indexOf(5);
    const own = fakes[home]!;
    fakes[home] = full(100);
    await several();
    const meanwhile = counts();
    expect(meanwhile.toSorted()).toEqual([0, 5, 5]);
    expect(meanwhile[home]).toBe(5);
    fakes[home] = own;
    await several();
    expect(counts()).toEqual(before);
  }
  await Promise.all(Array.from({ length: 60 }, (_, i) => generate({ idempotencyKey: `key-${i}` })));
  expect(Math.min(...counts())).toBeGreaterThan(0);
  // Where the first try has failed, it goes round.
  for (let i = 0; i < COUNT; i++) await generate({ isSeeded: true, isAgain: true });
  expect(counts()).toEqual([1, 1, 1]);
});

it('a sweep with one prompt and seed is shared out, and each of it sent again goes where it went', async () => {
  await untilReady();
  for (let i = 0; i < COUNT; i++) fakes[i] = fakeSidecar();
  const places = () =>
    fakes.map(({ requests }) =>
      requests
        .splice(0)
        .map(({ steps }) => steps)
        .sort(),
    );
  const sweep = () =>
    Promise.all(
      Array.from({ length: 60 }, (_, i) => generate({ isSeeded: true }, { ...asked, steps: 1 + i })),
    );
  await sweep();
  const before = places();
  expect(Math.min(...before.map(({ length }) => length))).toBeGreaterThan(0);
  await sweep();
  expect(places()).toEqual(before);
  // Bytes of pictures, and previews, are left out.
  const control = (byte: number) => [{ model: 'canny', image: Buffer.of(byte), scale: [0.5] }];
  for (let i = 0; i < 20; i++) {
    const pictures = { initImage: Buffer.of(i), mask: Buffer.of(i), control: control(i) };
    await generate({ isSeeded: true }, { ...asked, ...pictures, previewCount: i % 3 });
  }
  expect(
    places()
      .map(({ length }) => length)
      .sort(),
  ).toEqual([0, 0, 20]);
});

it('health is told of one that is ready, where there is one', async () => {
  await untilReady();
  const asked: number[] = [];
  const isReady = [false, false, true];
  for (let i = 0; i < COUNT; i++) {
    const fake = fakeSidecar();
    fakes[i] = fake;
    const deviceInfo = fake.deviceInfo.bind(fake);
    fake.deviceInfo = async () => {
      asked.push(i);
      return { ...(await deviceInfo()), ready: isReady[i]! };
    };
  }
  for (let i = 0; i < COUNT; i++) expect(await sidecar.deviceInfo()).toMatchObject({ ready: true });
  isReady[2] = false;
  asked.length = 0;
  expect(await sidecar.deviceInfo()).toMatchObject({ ready: false });
  expect(asked.toSorted()).toEqual([0, 1, 2]);
});

it('who leaves meanwhile asks nobody any more', async () => {
  const leaving = new AbortController();
  let calls = 0;
  for (const fake of fakes)
    fake.generate = (...args) => {
      calls++;
      leaving.abort();
      return full(1).generate(...args);
    };
  await expect(generate({ signal: leaving.signal })).rejects.toMatchObject({ code: 'cancelled' });
  expect(calls).toBe(1);
});

it('a client that is closed meanwhile tells of the refusal', async () => {
  const { address } = servers[0]!;
  for (const call of ['generate', 'preprocess'] as const) {
    const closing = grpcSidecar(address);
    const refuse = () => {
      closing.close();
      return full(700)[call]({ prompt: 'x', seeds: [1] }) as never;
    };
    fakes[0]![call] = refuse;
    const asking = async () => {
      if (call === 'preprocess') return closing.preprocess({ preprocessor: 'canny' });
      for await (const _ of closing.generate(asked));
    };
    await expect(asking()).rejects.toMatchObject({ code: 'queue_full', retryAfterMs: 700 });
    // None at all: there is no refusal to tell of.
    await expect(asking()).rejects.toMatchObject({ code: 'sidecar_unreachable' });
  }
});
