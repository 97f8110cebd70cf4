import OpenAI, { toFile } from 'openai';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Servers, startServers } from '../support/servers.ts';

// The stock SDK against the real thing: what only an engine shows.

let servers: Servers;
let client: OpenAI;
beforeAll(async () => {
  servers = await startServers({ concurrency: 2, queueLimit: 16 });
  client = new OpenAI({ baseURL: `${servers.url}/v1`, apiKey: 'any' });
});
afterAll(() => servers.stop());

const steps = () => servers.engine.info().stepsRun;
const rgb = (b64: string) => sharp(Buffer.from(b64, 'base64')).removeAlpha().raw().toBuffer();
type Parameters = OpenAI.ImageGenerateParamsNonStreaming;

describe('an edit', () => {
  it('makes anew what the mask leaves transparent, and nothing else', async () => {
    const made = await client.images.generate({ prompt: 'red apple', seed: 0, steps: 4 } as Parameters);
    const apple = made.data![0]!.b64_json!;
    const clearTop = Uint8Array.from({ length: 64 * 64 * 4 }, (_, i) => (i < 64 * 32 * 4 ? 0 : 255));
    const mask = await sharp(clearTop, { raw: { width: 64, height: 64, channels: 4 } })
      .png()
      .toBuffer();
    const { data, size } = await client.images.edit({
      image: await toFile(Buffer.from(apple, 'base64'), 'apple.png', { type: 'image/png' }),
      mask: await toFile(mask, 'mask.png', { type: 'image/png' }),
      prompt: 'watermelon',
      ...{ seed: 1, steps: 4 },
    });
    expect(size).toBe('64x64');
    const [own, edited] = await Promise.all([rgb(apple), rgb(data![0]!.b64_json!)]);
    const middle = own.length / 2;
    expect(edited.subarray(middle).equals(own.subarray(middle))).toBe(true);
    expect(edited.subarray(0, middle).equals(own.subarray(0, middle))).toBe(false);
  });

  it('needs a mask with transparency, of the size of the picture', async () => {
    const image = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#123' } })
      .png()
      .toBuffer();
    const small = await sharp({ create: { width: 32, height: 32, channels: 4, background: '#0000' } })
      .png()
      .toBuffer();
    for (const mask of [image, small]) {
      const refused = client.images.edit({
        image: await toFile(image, 'a.png'),
        mask: await toFile(mask, 'm.png'),
        prompt: 'x',
      });
      await expect(refused).rejects.toMatchObject({ status: 400, param: 'mask' });
    }
    const none = client.images.edit({ image: await toFile(Buffer.from('<svg/>'), 'a.png'), prompt: 'x' });
    await expect(none).rejects.toMatchObject({
      ...{ status: 400, param: 'image' },
      message: expect.stringContaining(' for image but received '),
    });
  });
});

describe('the same request', () => {
  it('at once is run once, when it has a seed', async () => {
    const before = steps();
    const parameters = { prompt: 'rocket', seed: 5, steps: 40 } as Parameters;
    const both = await Promise.all([1, 2, 3].map(() => client.images.generate(parameters)));
    expect(steps() - before).toBe(40);
    expect(new Set(both.map(({ data }) => data![0]!.b64_json)).size).toBe(1);
  });

  it('with its key is not run again, also without a seed', async () => {
    const before = steps();
    const options = { headers: { 'Idempotency-Key': 'once' } };
    const parameters = { prompt: 'rocket', steps: 3 } as Parameters;
    const [first, second] = [
      await client.images.generate(parameters, options),
      await client.images.generate(parameters, options),
    ];
    expect(second.data).toEqual(first.data);
    expect(steps() - before).toBe(3);
    const other = client.images.generate({ prompt: 'frog' }, options);
    await expect(other).rejects.toMatchObject({ status: 422, code: 'idempotency_conflict' });
  });

  it('is finished for a client who tries again, however short its patience', async () => {
    const before = steps();
    const impatient = new OpenAI({
      baseURL: `${servers.url}/v1`,
      apiKey: 'any',
      timeout: 300,
      maxRetries: 5,
    });
    const options = { headers: { 'Idempotency-Key': 'impatient' } };
    const total = 60;
    const { data } = await impatient.images.generate({ prompt: 'frog', steps: total } as Parameters, options);
    expect(data).toHaveLength(1);
    expect(steps() - before).toBe(total);
  });
});

it('a break stops the work within a step', async () => {
  const generate = vi.spyOn(servers.engine, 'generate');
  onTestFinished(() => generate.mockRestore());
  // Of steps that last so long that they are not over before the break has arrived.
  const slow = { size: '256x256', n: 4, steps: 1000, progress: true };
  const stream = await client.images.generate({ prompt: 'x', stream: true, ...slow } as never);
  const { signal } = generate.mock.lastCall![1]!;
  let at: number | undefined;
  // From when the engine is told: how long the way there takes is the machine's.
  signal!.addEventListener('abort', () => {
    at = steps();
  });
  for await (const _ of stream as unknown as AsyncIterable<unknown>) break;
  await expect.poll(() => servers.engine.info().running, { timeout: 60_000 }).toBe(0);
  expect(at).toBeDefined();
  // The one under way.
  expect(steps() - at!).toBeLessThanOrEqual(1);
});
