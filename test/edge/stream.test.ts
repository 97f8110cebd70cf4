import { afterEach, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { SidecarError } from '../../edge/sidecar/client.ts';
import { type FakeSidecar, fakeSidecar, PIXEL } from '../support/fake-sidecar.ts';

function stream(body: object, sidecar: FakeSidecar, signal?: AbortSignal, holdMs?: number) {
  return createApp({ sidecar, holdMs }).request('/v1/images/generations', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ prompt: 'x', stream: true, ...body }),
    signal,
  });
}

/** Each event with its name held against its type. */
async function events(response: Response) {
  const blocks = (await response.text()).split('\n\n').filter((block) => block && !block.startsWith(':'));
  return blocks.map((block) => {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block)!;
    const json = JSON.parse(data!);
    if (name !== 'error') expect(json.type).toBe(name);
    return { name, ...json };
  });
}

describe('streaming', () => {
  it('sends progress where it is asked for, previews and the picture', async () => {
    const body = { partial_images: 2, seed: 5, progress: true };
    const response = await stream(body, fakeSidecar({ steps: 4 }));
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const all = await events(response);
    expect(all.map(({ name }) => name.replace('image_generation.', ''))).toEqual([
      'progress',
      'partial_image',
      'progress',
      'partial_image',
      'progress',
      'progress',
      'completed',
    ]);
    expect(all[0]).toMatchObject({ step: 1, total: 4 });
    expect(all[1]).toMatchObject({
      partial_image_index: 0,
      b64_json: PIXEL.toString('base64'),
      output_format: 'png',
    });
    expect(all[3].partial_image_index).toBe(1);
    expect(all.at(-1)).toMatchObject({
      seed: 5,
      size: '64x64',
      usage: { total_tokens: 5 },
      effective: { steps_run: 4 },
    });
  });

  it.each([undefined, null, false])('writes a comment for each step, progress %s', async (progress) => {
    const text = await (await stream({ progress, partial_images: 1 }, fakeSidecar({ steps: 3 }))).text();
    expect(text.split('\n').filter((line) => /^(:|event)/.test(line))).toEqual([
      ': step 1/3',
      'event: image_generation.partial_image',
      ': step 2/3',
      ': step 3/3',
      'event: image_generation.completed',
    ]);
  });

  it('completes each of n pictures', async () => {
    const all = await events(await stream({ n: 3, seed: 1 }, fakeSidecar()));
    expect(all.map(({ seed, image_index }) => [seed, image_index])).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
  });

  it('tells of a failure in the middle as an event', async () => {
    const error = new SidecarError('Out of memory', { code: 'out_of_memory', httpStatus: 503 });
    const all = await events(await stream({}, fakeSidecar({ fail: { error, afterSteps: 2 } })));
    expect(all.at(-1)).toEqual({
      name: 'error',
      error: { message: 'Out of memory', type: 'server_error', param: null, code: 'out_of_memory' },
    });
  });
});

describe('between steps', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('comments keep the connection alive', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const sidecar = fakeSidecar({ steps: 2, pauseAfter: 1 });
    const reader = (await stream({}, sidecar)).body!.pipeThrough(new TextDecoderStream()).getReader();
    // The first step's.
    await reader.read();
    for (let i = 0; i < 2; i++) {
      const next = reader.read();
      vi.advanceTimersByTime(15_000);
      expect((await next).value).toBe(': keep-alive\n\n');
    }
    sidecar.go();
    let rest = '';
    for (let next = await reader.read(); !next.done; next = await reader.read()) rest += next.value;
    expect(rest).toContain('event: image_generation.completed');
    expect(rest).not.toContain('keep-alive');
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('what fails once queued', () => {
  const failing = (code: string, httpStatus: number, stepMs: number) =>
    fakeSidecar({
      fail: { error: new SidecarError('Told so', { code, httpStatus }), afterSteps: 0 },
      stepMs,
    });

  it.each([
    ['invalid_argument', 400],
    ['model_not_found', 404],
    ['checkpoint_unusable', 422],
    ['out_of_memory', 503],
  ])('has its status: %s', async (code, status) => {
    const response = await stream({}, failing(code, status, 10));
    expect(response.status).toBe(status);
    expect((await response.json()).error).toMatchObject({ message: 'Told so', code });
  });

  it('is an event when the reply could not wait for it', async () => {
    const response = await stream({}, failing('checkpoint_unusable', 422, 200), undefined, 20);
    expect(response.status).toBe(200);
    expect((await events(response)).map(({ error }) => error.code)).toEqual(['checkpoint_unusable']);
  });

  it('loses no event of work that begins late', async () => {
    const all = await events(await stream({ progress: true }, fakeSidecar({ stepMs: 50 }), undefined, 10));
    expect(all.map(({ step }) => step)).toEqual([1, 2, 3, 4, undefined]);
  });
});

describe('a client who leaves', () => {
  it('stops the work when its request is aborted', async () => {
    const sidecar = fakeSidecar({ steps: 1000, pauseAfter: 1 });
    const controller = new AbortController();
    const response = await stream({}, sidecar, controller.signal);
    const reader = response.body!.getReader();
    await reader.read();
    controller.abort();
    await expect.poll(() => sidecar.cancelled).toBe(1);
    expect(sidecar.steps).toBe(1);
  });

  it('stops the work when it no longer reads', async () => {
    const sidecar = fakeSidecar({ steps: 1000, pauseAfter: 1 });
    const response = await stream({}, sidecar);
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    await expect.poll(() => sidecar.cancelled).toBe(1);
    expect(sidecar.steps).toBe(1);
  });

  it('stops the work of a plain reply', async () => {
    const sidecar = fakeSidecar({ steps: 1000, pauseAfter: 3 });
    const controller = new AbortController();
    const response = stream({ stream: false }, sidecar, controller.signal);
    await expect.poll(() => sidecar.steps).toBe(3);
    controller.abort();
    await expect.poll(() => sidecar.cancelled).toBe(1);
    expect((await response).status).toBe(499);
    expect(sidecar.steps).toBe(3);
  });
});
