import { afterEach, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { tracedSidecar } from '../../edge/tracing.ts';
import { openTracing } from '../../proto/tracing/open.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { serve } from '../../sidecar/main.ts';
import { type CollectedSpan, type Collector, collector } from '../support/otlp.ts';

// One trace from HTTP to the last step, as what collects traces gets it.

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

async function start() {
  const collected = await collector();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collected.url };
  const [edge, inside] = [await openTracing('edge', env), await openTracing('sidecar', env)];
  const engine = await Engine.open({ folders: await modelFolders() });
  const server = await serve(engine, { host: '127.0.0.1', port: 0, tracing: inside });
  const sidecar = tracedSidecar(grpcSidecar(server.address), server.address, edge!);
  const app = createApp({ sidecar, tracing: edge });
  cleanUp.push(collected.close, () => sidecar.close());
  const ask = (body: object, headers: Record<string, string> = {}) =>
    app.request('/v1/images/generations', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ prompt: 'a secret apple', ...body }),
    });
  // Spans are sent when both have ended.
  const spans = async () => {
    await edge!.close();
    await server.stop(1000);
    return collected.spans;
  };
  return { ask, spans, collected, engine };
}

const named = (spans: CollectedSpan[], name: string) => spans.filter((span) => span.name === name);

it('follows a request from HTTP to each step', async () => {
  const { ask, spans } = await start();
  const [traceId, caller] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
  const headers = { traceparent: `00-${traceId}-${caller}-01`, 'x-request-id': 'r-1' };
  expect((await ask({ steps: 3, seed: 1 }, headers)).status).toBe(200);
  const all = await spans();

  const [http] = named(all, 'POST /v1/images/generations');
  expect(http).toMatchObject({
    ...{ service: 'edge', traceId, parentId: caller, kind: 2, isError: false },
    attributes: {
      'http.response.status_code': 200,
      'http.route': '/v1/images/generations',
      'latent_edge.request_id': 'r-1',
    },
  });
  const calls = named(all, 'latentedge.v1.Diffusion/Generate');
  const client = calls.find(({ kind }) => kind === 3)!;
  const server = calls.find(({ kind }) => kind === 2)!;
  expect(client).toMatchObject({ service: 'edge', traceId, parentId: http!.spanId });
  expect(server).toMatchObject({
    ...{ service: 'sidecar', traceId, parentId: client.spanId },
    attributes: { 'latent_edge.request_id': 'r-1', 'latent_edge.what': 'tiny-emoji-ldm 64x64 1×3' },
  });
  const stages = all.filter(({ parentId }) => parentId === server.spanId);
  stages.sort((a, b) => Number(a.began - b.began));
  expect(stages.map(({ name }) => name)).toEqual([
    ...['queue', 'load model', 'encode text', 'begin', 'step', 'step', 'step', 'decode', 'encode images'],
  ]);
  for (const [i, stage] of stages.entries()) {
    expect(stage.ended).toBeGreaterThanOrEqual(stage.began);
    if (i > 0) expect(stage.began).toBeGreaterThanOrEqual(stages[i - 1]!.ended);
  }
  expect(named(stages, 'step').map(({ attributes }) => attributes['latent_edge.step'])).toEqual([1, 2, 3]);
  expect(JSON.stringify(all, (_, value) => (typeof value === 'bigint' ? 0 : value))).not.toContain('secret');
});

it('links the steps of a batch with the calls of those that shared it', async () => {
  const { ask, spans, engine } = await start();
  await Promise.all([1, 2, 3, 4].map((seed) => ask({ steps: 8, seed })));
  expect(engine.occupancy.batchedRows).toBeGreaterThan(0);
  const all = await spans();
  const calls = named(all, 'latentedge.v1.Diffusion/Generate').filter(({ kind }) => kind === 2);
  expect(calls).toHaveLength(4);
  const steps = named(all, 'step');
  const linked = steps.filter(({ links }) => links.length > 0);
  expect(linked.length).toBeGreaterThan(1);
  for (const { parentId, links } of linked)
    for (const { traceId, spanId } of links) {
      expect(spanId).not.toBe(parentId);
      expect(calls.find((call) => call.spanId === spanId)).toMatchObject({ traceId });
    }
});

it('ends the span of a stream with its call, and says what failed', async () => {
  const { ask, spans } = await start();
  await (await ask({ steps: 2, stream: true })).text();
  expect((await ask({ model: 'nobody' })).status).toBe(404);
  const all = await spans();
  const [stream, failed] = named(all, 'POST /v1/images/generations');
  const within = all.find(({ parentId }) => parentId === stream!.spanId)!;
  expect(stream!.ended).toBeGreaterThanOrEqual(within.ended);
  const refused = all.filter(({ traceId, isError }) => traceId === failed!.traceId && isError);
  expect(refused.map(({ kind, attributes }) => [kind, attributes['error.type']]).sort()).toEqual([
    [2, 'model_not_found'],
    [3, 'model_not_found'],
  ]);
});

it('makes none of what the caller, or the operator, does not want', async () => {
  const { ask, spans } = await start();
  await ask({ steps: 1 }, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' });
  expect(await spans()).toEqual([]);
  expect(await openTracing('edge', {})).toBeUndefined();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };
  expect(await openTracing('edge', { ...env, OTEL_SDK_DISABLED: 'true' })).toBeUndefined();
  await expect(openTracing('edge', { OTEL_EXPORTER_OTLP_ENDPOINT: 'box:4318' })).rejects.toThrow(
    'expected a URL of http or https for OTEL_EXPORTER_OTLP_ENDPOINT but received "box:4318"',
  );
  await expect(openTracing('edge', { ...env, OTEL_TRACES_SAMPLER: 'most' })).rejects.toThrow(
    /OTEL_TRACES_SAMPLER/,
  );
});

it('passes a trace on where it makes none itself', async () => {
  const collected: Collector = await collector();
  cleanUp.push(collected.close);
  const inside = await openTracing('sidecar', { OTEL_EXPORTER_OTLP_ENDPOINT: collected.url });
  const engine = await Engine.open({ folders: await modelFolders() });
  const server = await serve(engine, {
    ...{ host: '127.0.0.1', port: 0, tracing: inside },
    web: { host: '127.0.0.1', port: 0 },
  });
  const { grpcWebSidecar } = await import('../../edge/sidecar/grpc-web.ts');
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  for (const sidecar of [grpcSidecar(server.address), grpcWebSidecar(`http://${server.webAddress}`)]) {
    cleanUp.push(() => sidecar.close());
    const reply = await createApp({ sidecar }).request('/v1/images/generations', {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent },
      body: JSON.stringify({ prompt: 'x', steps: 1 }),
    });
    expect(reply.status).toBe(200);
  }
  await server.stop(1000);
  const calls = named(collected.spans, 'latentedge.v1.Diffusion/Generate');
  expect(calls.map(({ traceId, parentId }) => `00-${traceId}-${parentId}-01`)).toEqual([
    traceparent,
    traceparent,
  ]);
});
