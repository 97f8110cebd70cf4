import { expect, it } from 'vitest';
import { fakeSidecar } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { generate } from './requests.ts';

/** Bodies that are none, or too much. */
export function transport(edge: () => Edge): void {
  const post = (body: BodyInit, headers: Record<string, string> = {}) =>
    generate(edge(), {}, { body, headers, duplex: 'half' } as RequestInit);

  it.each([true, false])('a body over the limit, with Content-Length %s', async (said) => {
    const sidecar = edge().use(fakeSidecar());
    const chunk = new Uint8Array(2 ** 20).fill(32);
    let left = 20;
    const stream = new ReadableStream({
      pull: (controller) => (left-- > 0 ? controller.enqueue(chunk) : controller.close()),
    });
    const response = await post(said ? new Uint8Array(20 * 2 ** 20) : stream);
    expect([response.status, (await response.json()).error.code]).toEqual([413, 'body_too_large']);
    expect(sidecar.requests).toEqual([]);
    expect((await edge().fetch('/healthz')).status).toBe(200);
  });

  it.each([
    ['', 400],
    ['{"prompt":', 400],
    ['[]', 400],
    ['"x"', 400],
    [new Uint8Array([0xff, 0xfe, 0x00]), 400],
  ])('no JSON: %o', async (body, status) => {
    const response = await post(body);
    expect(response.status).toBe(status);
    expect(await response.json()).toHaveProperty('error.message');
  });

  it.each<[string, string, string]>([
    ['200,000 fields', '/v1/images/generations', `{"prompt":"x"${',"f":1'.repeat(200_000)}}`],
    ['200,000 fields', '/v1/jobs', `{"prompt":"x"${',"f":1'.repeat(200_000)}}`],
    ['200,000 fields', '/sdapi/v1/txt2img', `{"prompt":"x"${',"f":1'.repeat(200_000)}}`],
    ['a million units', '/v1/images/generations', `{"prompt":"x","control":[${'{},'.repeat(1e6)}{}]}`],
    ['a million pictures', '/sdapi/v1/img2img', `{"init_images":[${'"",'.repeat(1e6)}""]}`],
    ['a million levels', '/controlnet/detect', `${'['.repeat(1e6)}${']'.repeat(1e6)}`],
  ])('%s of %s, in the shape of other errors', async (_, path, body) => {
    const sidecar = edge().use(fakeSidecar());
    const headers = { 'content-type': 'application/json' };
    const response = await edge().fetch(path, { method: 'POST', body, headers });
    const { error } = await response.json();
    expect([response.status, error.code, error.param]).toEqual([400, 'invalid_request', null]);
    expect(error.message).toMatch(
      /^Expected a body with at most (10000 values|32 levels) but received more$/,
    );
    expect(sidecar.requests).toEqual([]);
  });

  it('a type that is none of JSON', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'image/png'])
      expect((await post('{"prompt":"x"}', { 'content-type': type })).status).toBe(415);
  });

  it('a body that is compressed', async () => {
    const { error } = await (await post('{"prompt":"x"}', { 'content-encoding': 'br' })).json();
    expect([error.code, error.message]).toEqual([
      'unsupported_media_type',
      'Expected no content-encoding but received br',
    ]);
  });

  it('other methods', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const response = await edge().fetch('/v1/images/generations', { method });
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
    }
  });
}
