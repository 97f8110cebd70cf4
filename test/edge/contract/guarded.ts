import { createHash } from 'node:crypto';
import OpenAI from 'openai';
import { expect, it } from 'vitest';
import { fakeSidecar } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { generate } from './requests.ts';

const key = (name: string, scopes: string[], rest: object = {}) => ({
  ...{ name, scopes, ...rest },
  sha256: createHash('sha256').update(`key-of-${name}`).digest('hex'),
});

/** What `guarded` is run with. */
export const guardedEnv = {
  API_KEYS: JSON.stringify([
    key('reader', ['read']),
    key('ana', ['generate']),
    key('bob', ['generate'], { pixels_per_request: 4096 }),
    key('root', ['admin']),
  ]),
  ALLOWED_ORIGINS: 'https://app.example,http://localhost:5173',
};

/** The header that says who asks. */
export const as = (name: string) => ({ authorization: `Bearer key-of-${name}` });

/** Keys, scopes, origins, headers. */
export function guarded(edge: () => Edge): void {
  it('asks for a key on every route but pages, schemas and health', async () => {
    const sidecar = edge().use(fakeSidecar());
    const { paths } = await (await edge().fetch('/openapi.json')).json();
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method) => [method.toUpperCase(), path.replace(/\{\w+\}/g, 'x')]),
    );
    // What is answered is what the document says.
    for (const [path, methods] of Object.entries<Record<string, { responses: object }>>(paths))
      for (const { responses } of Object.values(methods))
        expect([path, '401' in responses]).toEqual([path, path !== '/healthz']);
    routes.push(['GET', '/v1/nowhere'], ['POST', '/healthz'], ['DELETE', '/'], ['GET', '/v2/models']);
    const wrong: Record<string, string>[] = [
      ...[{}, as('nobody'), { authorization: 'Bearer' }, { 'x-api-key': 'x' }],
    ];
    for (const [method, path] of routes) {
      const open = method === 'GET' && path === '/healthz';
      for (const headers of wrong) {
        const response = await edge().fetch(path!, { method: method!, headers });
        expect([method, path, response.status]).toEqual([method, path, open ? 200 : 401]);
        if (open) continue;
        expect((await response.json()).error).toMatchObject({ code: 'invalid_api_key', param: null });
        expect(response.headers.get('www-authenticate')).toBe('Bearer');
        expect(response.headers.get('x-request-id')).toBeTruthy();
      }
    }
    expect(sidecar.requests).toEqual([]);
  });

  it('knows a key however it is presented', async () => {
    edge().use(fakeSidecar());
    const basic = `Basic ${btoa('anyone:key-of-ana')}`;
    for (const headers of [as('ana'), { 'x-api-key': 'key-of-ana' }, { authorization: basic }])
      expect((await generate(edge(), {}, { headers })).status).toBe(200);
  });

  it('goes by scopes', async () => {
    edge().use(fakeSidecar());
    expect((await edge().fetch('/v1/models', { headers: as('reader') })).status).toBe(200);
    const refused = await generate(edge(), {}, { headers: as('reader') });
    expect([refused.status, (await refused.json()).error.code]).toEqual([403, 'insufficient_scope']);
    expect((await generate(edge(), {}, { headers: as('root') })).status).toBe(200);
    // Of the caller's own runs.
    const interrupt = (name: string) =>
      edge().fetch('/sdapi/v1/interrupt', { method: 'POST', headers: as(name) });
    expect((await interrupt('reader')).status).toBe(403);
    expect((await interrupt('ana')).status).toBe(200);
  });

  it("gives the openai package's classes of error", async () => {
    const sidecar = edge().use(fakeSidecar());
    for (const [name, type, status, code] of [
      ['nobody', OpenAI.AuthenticationError, 401, 'invalid_api_key'],
      ['reader', OpenAI.PermissionDeniedError, 403, 'insufficient_scope'],
    ] as const) {
      const client = new OpenAI({ baseURL: `${edge().url}/v1`, apiKey: `key-of-${name}` });
      for (const stream of [false, true]) {
        const thrown = await client.images.generate({ prompt: 'x', stream }).catch((error) => error);
        expect(thrown).toBeInstanceOf(type);
        expect(thrown).toMatchObject({ status, code, requestID: expect.any(String) });
      }
    }
    expect(sidecar.requests).toEqual([]);
  });

  it.each([
    [{ origin: 'https://evil.example' }, 403],
    [{ origin: 'null' }, 403],
    [{ origin: 'https://app.example.evil.example' }, 403],
    [{ origin: 'https://app.example' }, 200],
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ 'sec-fetch-site': 'same-origin' }, 200],
  ])('takes requests of its own pages and of allowed origins: %o', async (origin, status) => {
    const sidecar = edge().use(fakeSidecar());
    const response = await generate(edge(), {}, { headers: { ...as('ana'), ...origin } });
    expect(response.status).toBe(status);
    expect(sidecar.requests).toHaveLength(status === 200 ? 1 : 0);
    if (status !== 200) expect((await response.json()).error.code).toBe('origin_not_allowed');
    const named = 'origin' in origin && status === 200 ? origin.origin : null;
    expect(response.headers.get('access-control-allow-origin')).toBe(named);
  });

  it("shows allowed origins' pages its headers, also of what it refuses", async () => {
    edge().use(fakeSidecar());
    for (const name of ['ana', 'nobody']) {
      const { headers } = await edge().fetch('/v1/jobs', {
        method: 'POST',
        headers: { ...as(name), origin: 'https://app.example', 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x' }),
      });
      expect(headers.get('access-control-allow-origin')).toBe('https://app.example');
      const shown = headers.get('access-control-expose-headers')!.split(',');
      expect(shown).toEqual(expect.arrayContaining(['x-request-id', 'location', 'retry-after']));
    }
  });

  it('answers preflights, without a key', async () => {
    const ask = (origin: string) =>
      edge().fetch('/v1/images/generations', {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,x-stainless-lang',
        },
      });
    const { headers, status } = await ask('https://app.example');
    expect(status).toBe(204);
    expect(headers.get('access-control-allow-headers')).toContain('x-stainless-lang');
    expect((await ask('https://evil.example')).headers.get('access-control-allow-origin')).toBeNull();
  });

  it('has headers that browsers go by, and times', async () => {
    edge().use(fakeSidecar());
    const { headers } = await generate(edge(), {}, { headers: as('ana') });
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(headers.get('server-timing')).toMatch(/total;dur=/);
  });
}

/** What `limited` is run with. */
export const limitedEnv = { ...guardedEnv, RATE_LIMIT_PER_MINUTE: '3' };

export function limited(edge: () => Edge): void {
  it('lets each key make so many requests', async () => {
    const sidecar = edge().use(fakeSidecar());
    // workerd's minutes begin by the clock: where one ends in between, three more pass.
    const untilRefused = async (name: string) => {
      for (let passed = 0; passed < 8; passed++) {
        const reply = await generate(edge(), {}, { headers: as(name) });
        if (reply.status !== 200) return { passed, reply };
      }
      throw new Error(`Expected a refusal of ${name}`);
    };
    const ana = await untilRefused('ana');
    expect(ana.reply.status).toBe(429);
    expect(Number(ana.reply.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await ana.reply.json()).error).toMatchObject({
      type: 'rate_limit_error',
      code: 'rate_limit_exceeded',
    });
    expect((await edge().fetch('/v1/models', { headers: as('ana') })).status).toBe(200);
    const root = await untilRefused('root');
    expect(root.reply.status).toBe(429);
    expect(Math.min(ana.passed, root.passed)).toBe(3);
    expect(sidecar.requests).toHaveLength(ana.passed + root.passed);
  });
}
