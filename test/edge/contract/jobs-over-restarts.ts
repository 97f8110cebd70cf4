import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type FakeServer, serveFake } from '../../support/fake-server.ts';
import { fakeSidecar } from '../../support/fake-sidecar.ts';
import type { Connected, Runtime } from '../../support/runtimes.ts';

const TIMEOUT = { timeout: 20_000 };

/** What is left of jobs on workerd when it ends and begins again, and their webhooks there. */
export function jobsOverRestarts(runtime: Runtime): void {
  let sidecar = fakeSidecar();
  let server: FakeServer;
  const folder = mkdtempSync(join(tmpdir(), 'latent-edge-'));
  beforeAll(async () => {
    server = await serveFake(() => sidecar);
  });
  afterAll(() => {
    server.stop();
    rmSync(folder, { recursive: true });
  });
  const secret = 'sixteen characters';
  const told: { url: string; body: string; headers: Headers }[] = [];
  let edge: Connected;
  const open = async () => {
    edge = await runtime.connect(
      server,
      { WEBHOOK_HOSTS: 'hooks.example', WEBHOOK_SECRET: secret },
      {
        durableObjectsPersist: folder,
        serviceBindings: { SIDECAR_NETWORK: { network: { allow: ['private', 'public'] } } },
        outboundService: async (request: Request) => {
          told.push({ url: request.url, body: await request.text(), headers: request.headers });
          return new Response(null, { status: 204 });
        },
      },
    );
  };
  const get = async (path: string) => {
    const response = await edge.fetch(`/v1/jobs/${path}`);
    return { status: response.status, reply: await response.json() };
  };
  const post = async (key: string) => {
    const response = await edge.fetch('/v1/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ prompt: 'x', seed: 1, webhook: { url: `https://hooks.example/${key}` } }),
    });
    return (await response.json()).id as string;
  };

  it('has finished jobs after a restart, reports as lost what was under way, and tells of both', {
    timeout: 120_000,
  }, async () => {
    sidecar = fakeSidecar({ image: Buffer.from(new Uint8Array(2_100_000).map((_, i) => (i * i) >> 5)) });
    await open();
    const finished = await post('finished');
    await expect.poll(() => told.length, TIMEOUT).toBe(1);
    const { url, body, headers } = told[0]!;
    expect(url).toBe('https://hooks.example/finished');
    expect(JSON.parse(body)).toMatchObject({ type: 'job.succeeded', data: { id: finished } });
    const text = `${finished}.${headers.get('webhook-timestamp')}.${body}`;
    const signature = createHmac('sha256', secret).update(text).digest('base64');
    expect(headers.get('webhook-signature')).toBe(`v1,${signature}`);
    const before = await get(`${finished}/result`);

    sidecar = fakeSidecar({ steps: 9, pauseAfter: 2 });
    const lost = await post('lost');
    await expect.poll(async () => (await get(lost)).reply.step, TIMEOUT).toBe(2);
    await edge.stop();
    await expect.poll(() => sidecar.cancelled, TIMEOUT).toBe(1);
    sidecar = fakeSidecar();
    await open();
    const after = await get(`${finished}/result`);
    expect(after.reply.data).toEqual(before.reply.data);
    expect(after.reply.effective).toEqual(before.reply.effective);
    expect(await post('finished')).toBe(finished);
    const { reply } = await get(lost);
    expect(reply).toMatchObject({ status: 'failed', error: { code: 'job_lost' } });
    const { status, reply: failure } = await get(`${lost}/result`);
    expect([status, failure.error.code]).toEqual([500, 'job_lost']);
    await expect.poll(() => told.length, TIMEOUT).toBe(2);
    expect(JSON.parse(told[1]!.body)).toEqual({ type: 'job.failed', data: reply });
    expect(sidecar.requests).toEqual([]);
    const again = await post('lost');
    expect(again).not.toBe(lost);
    await expect.poll(async () => (await get(again)).reply.status, TIMEOUT).toBe('succeeded');
    await edge.stop();
  });
}
