import OpenAI, { toFile } from 'openai';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { SidecarError } from '../../../edge/sidecar/client.ts';
import { fakeSidecar, PIXEL } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { endStep } from './requests.ts';

/** What `openai` is run with. Bodies just above are read to their end, and their connection is not reset. */
export const openaiEnv = { MAX_BODY_BYTES: '60000' };

/** The `openai` package as it comes. */
export function openai(edge: () => Edge): void {
  const client = (options: object = {}) =>
    new OpenAI({ baseURL: `${edge().url}/v1`, apiKey: 'any', ...options });
  const b64_json = PIXEL.toString('base64');
  const picture = () => toFile(PIXEL, 'a.png', { type: 'image/png' });

  describe('generates', () => {
    it('with every parameter', async () => {
      const sidecar = edge().use(fakeSidecar());
      const parameters = {
        ...{ prompt: 'a fox', model: 'tiny', n: 2, size: '64x64', response_format: 'b64_json' },
        ...{ output_format: 'jpeg', output_compression: 70, quality: 'high', style: 'vivid', user: 'me' },
        ...{ background: 'opaque', moderation: 'low' },
        // This server's own.
        ...{ seed: 3, steps: 5, guidance_scale: 2, loras: [{ name: 'l' }], init_image: b64_json },
        control: [{ model: 'canny', image: b64_json, preprocessor: 'canny' }],
      };
      const reply = await client().images.generate(parameters as OpenAI.ImageGenerateParamsNonStreaming);
      expect(reply.data).toEqual([3, 4].map((seed) => ({ b64_json, seed })));
      expect(reply).toMatchObject({ size: '64x64', output_format: 'jpeg', background: 'opaque' });
      expect(reply.created).toBeGreaterThan(1.7e9);
      expect(reply.usage).toMatchObject({ total_tokens: 5, input_tokens: 5, output_tokens: 0 });
      expect(reply._request_id).toBeTruthy();
      const { effective } = reply as unknown as { effective: object };
      expect(effective).toMatchObject({
        ...{ model: 'tiny', model_hash: 'ab'.repeat(32), prompt: 'a fox', seeds: [3, 4], steps: 5 },
        ignored: ['quality', 'style', 'background', 'moderation', 'user'].map(
          (name) => `${name}: has no effect here`,
        ),
      });
      const [request] = sidecar.requests;
      expect(request).toMatchObject({
        ...{ prompt: 'a fox', seeds: [3, 4], steps: 5, format: 'IMAGE_FORMAT_JPEG', quality: 70 },
        ...{ guidanceScale: 2, width: 64, height: 64, adapters: [{ name: 'l', scale: 1 }] },
        control: [{ model: 'canny', preprocessor: 'canny' }],
      });
      expect(PIXEL.equals(request!.initImage as Uint8Array)).toBe(true);
      expect(PIXEL.equals(request!.control![0]!.image as Uint8Array)).toBe(true);
    });

    it('ten pictures, each of its own seed', async () => {
      const sidecar = edge().use(fakeSidecar());
      const { data } = await client().images.generate({ prompt: 'x', n: 10 });
      const { seeds } = sidecar.requests[0]!;
      expect(new Set(seeds as number[]).size).toBe(10);
      expect(data).toEqual((seeds as number[]).map((seed) => ({ b64_json, seed })));
    });

    it('addresses, sizes the model chooses, and nothing but a prompt', async () => {
      edge().use(fakeSidecar());
      const images = client().images;
      const { data } = await images.generate({ prompt: 'x', size: 'auto', response_format: 'url' });
      const fetched = await fetch(data![0]!.url!);
      expect(Buffer.from(await fetched.arrayBuffer())).toEqual(PIXEL);
      expect((await images.generate({ prompt: 'x' })).data).toHaveLength(1);
    });

    it.each([undefined, 0, 1, 2, 3])('streams, with %s partial images', async (partial_images) => {
      edge().use(fakeSidecar({ steps: 4 }));
      const stream = await client().images.generate({ prompt: 'x', stream: true, partial_images });
      const all: OpenAI.ImageGenStreamEvent[] = [];
      for await (const event of stream) all.push(event);
      // These and no others: the package's types have no more, and its users read b64_json off each.
      const indices = [0, 1, 2].slice(0, partial_images ?? 0);
      const partial = { type: 'image_generation.partial_image', b64_json };
      expect(all).toMatchObject([
        ...indices.map((i) => ({ ...partial, partial_image_index: i })),
        { type: 'image_generation.completed', b64_json },
      ]);
      const last = all.at(-1)!;
      expect(last).toMatchObject({ type: 'image_generation.completed', b64_json, size: '64x64' });
      expect(last).toMatchObject({ usage: { total_tokens: 5 }, background: 'opaque', output_format: 'png' });
    });
  });

  describe('edits', () => {
    it('with a mask, and every parameter', async () => {
      const sidecar = edge().use(fakeSidecar());
      const parameters = {
        ...{ image: await picture(), mask: await picture(), prompt: 'a fox', model: 'tiny', n: 1 },
        ...{ size: '64x64', output_format: 'webp', input_fidelity: 'high', quality: 'low', user: 'me' },
        ...{ seed: 3, strength: 0.5, loras: [{ name: 'l', scale: 0.5 }, { name: 'm' }] },
      };
      const reply = await client().images.edit(parameters as unknown as OpenAI.ImageEditParamsNonStreaming);
      expect(reply.data).toEqual([{ b64_json, seed: 3 }]);
      const [request] = sidecar.requests;
      expect(request).toMatchObject({
        ...{ maskChannel: 'alpha', strength: 0.5, keepUnmasked: true, format: 'IMAGE_FORMAT_WEBP' },
        adapters: [
          { name: 'l', scale: 0.5 },
          { name: 'm', scale: 1 },
        ],
      });
      expect(PIXEL.equals(request!.initImage as Uint8Array)).toBe(true);
      expect(PIXEL.equals(request!.mask as Uint8Array)).toBe(true);
    });

    it('one picture of a list, streamed', async () => {
      edge().use(fakeSidecar({ steps: 2 }));
      const image = [await picture()];
      const stream = await client().images.edit({ image, prompt: 'x', stream: true, partial_images: 1 });
      const names: string[] = [];
      for await (const { type } of stream) names.push(type);
      expect(names).toEqual(['image_edit.partial_image', 'image_edit.completed']);
      const two = client().images.edit({ image: [await picture(), await picture()], prompt: 'x' });
      await expect(two).rejects.toMatchObject({ status: 400, param: 'image' });
    });

    it('varies', async () => {
      edge().use(fakeSidecar());
      const { data } = await client().images.createVariation({ image: await picture(), n: 2 });
      expect(data).toHaveLength(2);
    });
  });

  it('lists models', async () => {
    edge().use(fakeSidecar());
    const ids: string[] = [];
    for await (const { id } of client().models.list()) ids.push(id);
    expect(ids).toEqual(['tiny']);
    expect(await client().models.retrieve('tiny')).toMatchObject({ id: 'tiny', object: 'model' });
    await expect(client().models.retrieve('nope')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  describe('errors', () => {
    it.each([
      [400, 'invalid_argument', OpenAI.BadRequestError],
      [404, 'model_not_found', OpenAI.NotFoundError],
      [409, 'job_not_finished', OpenAI.ConflictError],
      [422, 'checkpoint_unusable', OpenAI.UnprocessableEntityError],
      [429, 'queue_full', OpenAI.RateLimitError],
      [500, 'internal', OpenAI.InternalServerError],
      [503, 'out_of_memory', OpenAI.InternalServerError],
      [504, 'deadline_exceeded', OpenAI.InternalServerError],
    ])('%i are of their class, streamed or not', async (status, code, type) => {
      const error = new SidecarError('Told so', { code, httpStatus: status, field: 'sampler' });
      edge().use(fakeSidecar({ fail: { error } }));
      for (const stream of [false, true]) {
        const thrown = await client({ maxRetries: 0 })
          .images.generate({ prompt: 'x', stream })
          .then(
            () => undefined,
            (error) => error,
          );
        expect(thrown).toBeInstanceOf(type);
        expect(thrown).toMatchObject({ status, code, param: 'sampler' });
        expect(thrown.message).toBe(`${status} Told so`);
        expect(thrown.requestID).toBeTruthy();
      }
    });

    it('of a body that is too large, or of another type', async () => {
      const sidecar = edge().use(fakeSidecar());
      const once = client({ maxRetries: 0 });
      const large = new Uint8Array(60_100);
      const textual = { headers: { 'Content-Type': 'text/plain' } };
      const file = await toFile(large, 'a.png');
      for (const [send, status, code] of [
        [() => once.images.generate({ prompt: 'x'.repeat(60_000) }), 413, 'body_too_large'],
        [() => once.images.edit({ prompt: 'x', image: file }), 413, 'body_too_large'],
        [() => once.images.generate({ prompt: 'x' }, textual), 415, 'unsupported_media_type'],
      ] as const) {
        const thrown = await send().catch((error: unknown) => error);
        expect(thrown).toBeInstanceOf(OpenAI.APIError);
        const expected = { status, code, type: 'invalid_request_error', requestID: expect.any(String) };
        expect(thrown).toMatchObject(expected);
      }
      expect(sidecar.requests).toEqual([]);
    });

    it('in the middle of a stream are thrown', async () => {
      const error = new SidecarError('Out', { code: 'out_of_memory', httpStatus: 503 });
      edge().use(fakeSidecar({ fail: { error, afterSteps: 2 } }));
      const stream = await client().images.generate({ prompt: 'x', stream: true });
      const read = async () => {
        for await (const _ of stream);
      };
      await expect(read()).rejects.toMatchObject({ code: 'out_of_memory' });
    });

    it.each([
      ['n', 11],
      ['size', '512x'],
      ['partial_images', 4],
      ['output_format', 'gif'],
      ['output_compression', 101],
      ['response_format', 'file'],
      ['prompt', ''],
    ])('of a field, with its name: %s', async (param, value) => {
      const sidecar = edge().use(fakeSidecar());
      const wrong = client().images.generate({ prompt: 'x', [param]: value } as never);
      const expected = { status: 400, param, type: 'invalid_request_error', code: 'invalid_argument' };
      await expect(wrong).rejects.toMatchObject(expected);
      await expect(wrong).rejects.toBeInstanceOf(OpenAI.BadRequestError);
      expect(sidecar.requests).toEqual([]);
    });
  });

  describe('tries again', () => {
    it('what may succeed then, when it is told to, as the same request', async () => {
      const failing = fakeSidecar({
        fail: {
          error: new SidecarError('Full', { code: 'queue_full', httpStatus: 429, retryAfterMs: 20 }),
        },
      });
      const sidecar = edge().use(failing);
      const headers = { 'Idempotency-Key': 'mine' };
      await expect(client().images.generate({ prompt: 'x' }, { headers })).rejects.toMatchObject({
        status: 429,
      });
      expect(sidecar.requests).toHaveLength(3);
      expect(sidecar.steps).toBe(0);
      // Without a seed of its own: the key's.
      expect(sidecar.requests[1]).toEqual(sidecar.requests[0]);
      const keys = sidecar.options.map(({ idempotencyKey }) => idempotencyKey);
      expect(keys).toEqual([keys[0], keys[0], keys[0]]);
      expect(keys[0]).toMatch(/^[0-9a-f]{64}$/);
    });

    it('nothing that has taken all its time already', async () => {
      const error = new SidecarError('Late', { code: 'deadline_exceeded', httpStatus: 504 });
      const sidecar = edge().use(fakeSidecar({ fail: { error } }));
      await expect(client().images.generate({ prompt: 'x' })).rejects.toMatchObject({ status: 504 });
      expect(sidecar.requests).toHaveLength(1);
    });

    it('and keys are each for themselves', async () => {
      const sidecar = edge().use(fakeSidecar());
      for (const [key, apiKey] of [
        ['a', 'one'],
        ['b', 'one'],
        ['a', 'two'],
      ])
        await client({ apiKey }).images.generate({ prompt: 'x' }, { headers: { 'Idempotency-Key': key } });
      await client().images.generate({ prompt: 'x' });
      const keys = sidecar.options.map(({ idempotencyKey }) => idempotencyKey);
      expect(new Set(keys).size).toBe(4);
      expect(keys.at(-1)).toBeUndefined();
      expect(new Set(sidecar.requests.map(({ seeds }) => String(seeds))).size).toBe(4);
    });
  });

  describe('leaves', () => {
    /** In a stream, after three steps: the fourth does not end by itself. */
    const inFourthStep = async () => {
      edge().use(fakeSidecar({ steps: 1000, pauseAfter: 3 }));
      return client().images.generate({ prompt: 'x', stream: true, partial_images: 3 });
    };
    const stopped = async () => {
      await expect.poll(() => edge().sidecar.cancelled, { timeout: 20_000 }).toBe(1);
      // Workers end the step that they are told in.
      expect(edge().sidecar.steps).toBe(edge().runtime === 'Node' ? 3 : 4);
    };

    it('by a break', async () => {
      let partials = 0;
      for await (const _ of await inFourthStep()) if (++partials === 3) break;
      endStep(edge());
      await stopped();
    });

    it('by its controller', async () => {
      const stream = await inFourthStep();
      await expect.poll(() => edge().sidecar.steps).toBe(3);
      stream.controller.abort();
      endStep(edge());
      await stopped();
    });

    it('by its own timeout', async () => {
      const sidecar = edge().use(fakeSidecar({ steps: 6, pauseAfter: 3 }));
      const clock = heldTimer(1234);
      const slow = client({ timeout: 1234, maxRetries: 0 }).images.generate({ prompt: 'x' });
      const thrown = slow.catch((error: unknown) => error);
      await expect.poll(() => sidecar.steps, { timeout: 20_000 }).toBe(3);
      clock.strike();
      expect(await thrown).toBeInstanceOf(OpenAI.APIConnectionTimeoutError);
      if (edge().runtime === 'Node') return stopped();
      // A mere close, and before its reply workerd writes nothing: it is made to its end.
      expect((await edge().fetch('/healthz')).status).toBe(200);
      for (const _ of [4, 5, 6]) sidecar.go();
      await expect.poll(() => sidecar.steps, { timeout: 20_000 }).toBe(6);
      expect(sidecar.cancelled).toBe(0);
    });
  });
}

/** Holds back the timer of so many milliseconds that is set next, until it is told to strike. */
function heldTimer(heldMs: number): { strike(): void } {
  const { setTimeout } = globalThis;
  let strike = () => {};
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((
    run: () => void,
    ms?: number,
    ...rest: []
  ) => {
    if (ms !== heldMs) return setTimeout(run, ms, ...rest);
    spy.mockRestore();
    strike = run;
    return setTimeout(() => {}, 0);
  }) as typeof setTimeout);
  onTestFinished(() => spy.mockRestore());
  return { strike: () => strike() };
}
