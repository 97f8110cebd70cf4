import { credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GenerateEvent__Output } from '../../proto/gen/latentedge/v1/GenerateEvent.ts';
import type { GenerateRequest } from '../../proto/gen/latentedge/v1/GenerateRequest.ts';
import { type DiffusionClient, diffusion } from '../../proto/index.ts';
import { type Servers, startServers } from '../support/servers.ts';

let servers: Servers;
let client: DiffusionClient;
beforeAll(async () => {
  servers = await startServers({ concurrency: 1, queueLimit: 2 });
  client = new diffusion(servers.address, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await servers.stop();
});

async function generate(request: GenerateRequest, deadlineMs?: number): Promise<GenerateEvent__Output[]> {
  const events: GenerateEvent__Output[] = [];
  const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
  for await (const event of client.generate(request, new Metadata(), options)) events.push(event);
  return events;
}

const failure = (request: GenerateRequest, deadlineMs?: number): Promise<ServiceError> =>
  generate(request, deadlineMs).then(
    () => expect.fail('it was answered'),
    (error) => error,
  );

/** The model that is used when none is named. */
const standard = async () => (await servers.sidecar.listModels()).find(({ isDefault }) => isDefault)!;

const idle = () => expect.poll(() => servers.engine.info().running, { timeout: 10_000 }).toBe(0);

describe('Generate', () => {
  it('streams queued, progress with previews, and the result', async () => {
    const { width, height } = await standard();
    const events = await generate({
      prompt: 'red apple',
      seeds: [7],
      steps: 4,
      previewCount: 1,
      returnLatents: true,
    });
    expect(events.map(({ event }) => event)).toEqual(['queued', ...Array(4).fill('progress'), 'result']);
    expect(events[0]!.queued).toEqual({ position: 0 });
    const progress = events.slice(1, 5).map((event) => event.progress!);
    expect(progress.map(({ step, total }) => [step, total])).toEqual([1, 2, 3, 4].map((step) => [step, 4]));
    expect(progress.map(({ previews }) => previews.length)).toEqual([0, 1, 0, 0]);
    const { images, effective, timings, textTokens } = events[5]!.result!;
    const [image] = images;
    expect(image).toMatchObject({ format: 'IMAGE_FORMAT_PNG', width, height, seed: 7, index: 0 });
    const { comments, ...pixels } = await sharp(image!.data).metadata();
    expect(pixels).toMatchObject({ width, height });
    expect(comments![0]!.text).toMatch(
      new RegExp(`^red apple\\nSteps: 4, .*Seed: 7, Size: ${width}x${height}`),
    );
    expect(image!.latents!.data.length).toBe(4 * image!.latents!.shape.reduce((a, b) => a * b));
    expect(effective).toMatchObject({ steps: 4, stepsRun: 4, seeds: [7], ignored: [] });
    expect(timings!.denoiseMs).toBeGreaterThan(0);
    expect(textTokens).toBeGreaterThan(4);
  });

  it('takes pictures to begin from', async () => {
    const { width, height } = await standard();
    const request = { prompt: 'red apple', seeds: [7], steps: 5, previewCount: 1 };
    const [apple] = (await generate(request)).at(-1)!.result!.images;
    const white = { width, height, channels: 3 as const, background: '#fff' };
    const mask = await sharp({ create: white }).png().toBuffer();
    const events = await generate({
      ...request,
      initImage: apple!.data,
      mask,
      strength: 0.6,
      keepUnmasked: true,
    });
    expect(events.filter(({ event }) => event === 'progress').length).toBe(3);
    const { effective, images, timings } = events.at(-1)!.result!;
    expect(effective).toMatchObject({ width, height, strength: 0.6, stepsRun: 3, ignored: [] });
    expect(timings!.encodeImageMs).toBeGreaterThan(0);
    expect((await sharp(images[0]!.data).metadata()).comments![0]!.text).toContain('Denoising strength: 0.6');
    const error = await failure({ ...request, initImage: Buffer.from('<svg/>') });
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(error.metadata.get('error-field')).toEqual(['init_image']);
  });

  it('refuses a format that it does not make', async () => {
    const error = await failure({ prompt: 'x', steps: 1, format: 7 as never });
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(error.metadata.get('error-field')).toEqual(['format']);
  });

  it('says what had no effect', async () => {
    const request = {
      prompt: 'cat '.repeat(200),
      promptSyntax: 'plain',
      negativePrompt: 'dog',
      guidanceScale: 1,
      steps: 1,
      sampler: 'euler',
      eta: 0.5,
    };
    const { effective } = (await generate(request)).at(-1)!.result!;
    expect(effective!.ignored).toEqual([
      'negative_prompt: guidance is off (guidance_scale 1)',
      'eta: sampler euler has no use for it',
      expect.stringMatching(/^prompt: its last \d+ tokens do not fit$/),
    ]);
  });

  it.each<[string, GenerateRequest, number, string | undefined]>([
    ['steps', { steps: 1e6 }, status.INVALID_ARGUMENT, 'steps'],
    ['a size', { width: 513, height: 513 }, status.INVALID_ARGUMENT, 'width'],
    ['count', { count: 1e9 }, status.INVALID_ARGUMENT, 'count'],
    ['seeds', { seeds: [2 ** 53] }, status.INVALID_ARGUMENT, 'seeds'],
    ['a huge seed', { seeds: ['18446744073709551615'] }, status.INVALID_ARGUMENT, 'seeds'],
    ['NaN', { guidanceScale: Number.NaN }, status.INVALID_ARGUMENT, 'guidance_scale'],
    ['infinity', { guidanceRescale: Number.POSITIVE_INFINITY }, status.INVALID_ARGUMENT, 'guidance_rescale'],
    ['a sampler', { sampler: 'nope' }, status.INVALID_ARGUMENT, 'sampler'],
    ['a schedule', { sampler: 'euler', schedule: 'nope' }, status.INVALID_ARGUMENT, 'schedule'],
    ['NUL', { prompt: 'a\0b' }, status.INVALID_ARGUMENT, 'prompt'],
    ['1 MB of text', { prompt: 'x'.repeat(1024 * 1024) }, status.INVALID_ARGUMENT, 'prompt'],
    ['no such model', { model: '../../etc/passwd' }, status.NOT_FOUND, 'model'],
    ['a long name', { model: 'x'.repeat(4096) }, status.INVALID_ARGUMENT, 'model'],
  ])('refuses %s, and goes on', async (_, request, code, field) => {
    const error = await failure({ prompt: 'x', ...request });
    expect({ code: error.code, field: error.metadata.get('error-field')[0] }).toEqual({ code, field });
    expect(error.details).toMatch(/^Expected .+ but received .+/);
    expect(Number(error.metadata.get('http-status')[0])).toBe(code === status.NOT_FOUND ? 404 : 400);
    expect((await generate({ prompt: 'x', steps: 1 })).at(-1)!.event).toBe('result');
  });

  it('refuses messages beyond its limit, and goes on', async () => {
    const error = await failure({ prompt: 'x'.repeat(65 * 1024 * 1024) });
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect((await generate({ prompt: 'x', steps: 1 })).at(-1)!.event).toBe('result');
  });

  it('takes any prompt', async () => {
    for (const prompt of ['', '((((', '(a:1e38)', '\ufeff', '👩‍👩‍👧‍👦', 'ﷺ'.repeat(1000)])
      expect((await generate({ prompt, steps: 1 })).at(-1)!.event).toBe('result');
  });
});

describe('who leaves', () => {
  it('stops the work by cancelling', async () => {
    const call = client.generate({ prompt: 'x', steps: 1000 });
    let [seen, at] = [0, 0];
    const ended = new Promise<ServiceError>((resolve) => call.on('error', resolve));
    call.on('data', ({ progress }: GenerateEvent__Output) => {
      if (!progress) return;
      seen = progress.step;
      if (seen !== 3) return;
      at = servers.engine.info().stepsRun;
      call.cancel();
    });
    expect((await ended).code).toBe(status.CANCELLED);
    await idle();
    // The one under way, and some that may end while the cancelling is on its way through a socket. Without the wire
    // it is one at most: test/cpu/engine.test.ts.
    expect((await servers.stepsRun()) - at).toBeLessThan(20);
    expect(servers.calls.at(-1)!.code).toBe('cancelled');
  });

  it('stops the work when the deadline passes', async () => {
    const error = await failure({ prompt: 'x', steps: 1000 }, 400);
    expect(error.code).toBe(status.DEADLINE_EXCEEDED);
    await idle();
    const steps = await servers.stepsRun();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await servers.stepsRun()).toBe(steps);
    // The client's clock starts a little earlier: its cancelling may come first.
    expect(servers.calls.at(-1)!.code).toMatch(/^(deadline_exceeded|cancelled)$/);
  });

  it('leaves the queue too', async () => {
    const running = client.generate({ prompt: 'x', steps: 1000 });
    running.on('error', () => {});
    await new Promise((resolve) => running.once('data', resolve));
    expect((await failure({ prompt: 'waits' }, 200)).code).toBe(status.DEADLINE_EXCEEDED);
    await expect.poll(() => servers.engine.info().queued).toBe(0);
    running.cancel();
    await idle();
  });
});

it('refuses what the queue cannot hold, with a hint', async () => {
  const outcomes = await Promise.all(
    Array.from({ length: 6 }, () =>
      generate({ prompt: 'x', steps: 10 }).then(
        (events) => events.at(-1)!.event,
        (error: ServiceError) => error,
      ),
    ),
  );
  expect(outcomes.filter((outcome) => outcome === 'result').length).toBe(3);
  for (const error of outcomes.filter((outcome): outcome is ServiceError => typeof outcome !== 'string')) {
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(Number(error.metadata.get('retry-after-ms')[0])).toBeGreaterThanOrEqual(500);
    expect(error.metadata.get('grpc-retry-pushback-ms')).toEqual(error.metadata.get('retry-after-ms'));
  }
});

it('lists models and devices', async () => {
  const models = await servers.sidecar.listModels();
  expect(models.filter(({ isDefault }) => isDefault)).toHaveLength(1);
  expect(models[0]).toMatchObject({ kind: 'latent-diffusion', loaded: true, sampler: expect.any(String) });
  const { devices, queueLimit, residentBytes, hostMemoryBytes } = await servers.sidecar.deviceInfo();
  expect(queueLimit).toBe(2);
  expect(residentBytes).toBeGreaterThan(10e6);
  expect(hostMemoryBytes).toBeGreaterThan(residentBytes);
  expect(devices[0]).toMatchObject({ id: 'cpu', threads: expect.any(Number) });
  expect(devices[0]!.weightsBytes).toBeGreaterThan(0);
});
