import { describe, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import type { AccessEntry } from '../../edge/log.ts';
import { SidecarError } from '../../edge/sidecar/client.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

const down = () => {
  const error = new SidecarError('The sidecar cannot be reached', {
    code: 'sidecar_unreachable',
    httpStatus: 503,
  });
  return createApp({ sidecar: fakeSidecar({ fail: { error } }) });
};
const up = () => createApp({ sidecar: fakeSidecar() });

describe('GET /v1/models', () => {
  it('lists models as OpenAI does', async () => {
    const reply = await (await up().request('/v1/models')).json();
    expect(reply).toMatchObject({
      object: 'list',
      data: [{ id: 'tiny', object: 'model', default: true, size: '64x64' }],
    });
    expect(await (await up().request('/v1/models/tiny')).json()).toMatchObject({ id: 'tiny' });
  });

  it.each(['nope', '..%2f..%2fetc', '%00', 'x'.repeat(4096)])('has no model %s', async (id) => {
    const response = await up().request(`/v1/models/${id}`);
    expect(response.status).toBe(404);
    expect(await response.json()).toHaveProperty('error.message');
  });

  it('says that the sidecar is gone', async () => {
    const response = await down().request('/v1/models');
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({
      error: { code: 'sidecar_unreachable', type: 'server_error' },
    });
  });
});

describe('GET /healthz', () => {
  it('is ok with a sidecar, and unavailable without', async () => {
    const ok = await up().request('/healthz');
    expect([ok.status, (await ok.json()).status]).toEqual([200, 'ok']);
    const bad = await down().request('/healthz');
    expect([bad.status, await bad.json()]).toMatchObject([
      503,
      { status: 'unavailable', sidecar: { reachable: false } },
    ]);
  });
});

describe('GET /openapi.json', () => {
  it('declares every route, in 3.1', async () => {
    const document = await (await up().request('/openapi.json')).json();
    expect(document.openapi).toMatch(/^3\.1/);
    const routes = createApp({ sidecar: fakeSidecar() }).routes.filter(({ method }) => method !== 'ALL');
    const declared = (path: string) => path.replace(/:(\w+)/g, '{$1}') in document.paths;
    const pages = /^\/($|playground\/|docs|openapi\.json)/;
    expect(routes.filter(({ path }) => !declared(path) && !pages.test(path))).toEqual([]);
    expect(
      Object.keys(document.paths)
        .filter((path) => !/^\/(sdapi|controlnet)\//.test(path))
        .sort(),
    ).toEqual([
      '/healthz',
      '/v1/images/edits',
      '/v1/images/generations',
      '/v1/images/variations',
      '/v1/images/{hash}',
      '/v1/jobs',
      '/v1/jobs/{id}',
      '/v1/jobs/{id}/result',
      '/v1/models',
      '/v1/models/{id}',
      '/v1/names',
    ]);
    const body = document.components.schemas.ImageGenerationRequest;
    expect(body.required).toEqual(['prompt']);
    expect(body.properties).toHaveProperty('guidance_rescale');
    expect(Object.keys(document.components.securitySchemes)).toEqual(['bearer', 'basic', 'key']);
    const replies = (path: string, method: string) => Object.keys(document.paths[path][method].responses);
    expect(replies('/v1/images/generations', 'post')).toEqual(expect.arrayContaining(['401', '413', '429']));
    expect(replies('/v1/models', 'get')).toEqual(['200', '401', '403', '500', '502', '503', '504']);
    expect(replies('/v1/jobs/{id}', 'delete')).toEqual(expect.arrayContaining(['401', '403', '429']));
    expect(document.paths['/healthz'].get.security).toEqual([]);
    expect(replies('/healthz', 'get')).toEqual(['200', '403', '500', '503']);
  });
});

describe('every reply', () => {
  it('has a request id, and unknown routes an error in shape', async () => {
    const response = await up().request('/v2/nothing', { method: 'DELETE' });
    expect(response.status).toBe(404);
    expect(response.headers.get('x-request-id')).toBeTruthy();
    expect(await response.json()).toMatchObject({ error: { code: 'route_not_found', param: null } });
  });

  it('says which method a route has', async () => {
    const response = await up().request('/v1/images/generations');
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
    expect(await response.json()).toMatchObject({ error: { code: 'method_not_allowed' } });
    const model = await up().request('/v1/models/tiny', { method: 'DELETE' });
    expect([model.status, model.headers.get('allow')]).toEqual([405, 'GET']);
  });

  it('is logged, without what was asked', async () => {
    const entries: AccessEntry[] = [];
    const app = createApp({ sidecar: fakeSidecar(), log: (entry) => entries.push(entry) });
    await app.request('/healthz?secret=1');
    expect(entries).toMatchObject([{ method: 'GET', path: '/healthz', status: 200 }]);
  });
});
