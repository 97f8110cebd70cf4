import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errors } from '../../sidecar/errors.ts';
import { callLogger } from '../../sidecar/log.ts';
import { Metrics } from '../../sidecar/metrics.ts';
import { type RunningOperations, startOperations } from '../../sidecar/operations.ts';

const device = { name: 'a', arch: 'b', threads: 1, memoryTotal: 9, weightsBytes: 0, arenaBytes: 0 };
const info = {
  devices: [
    { id: 'cuda:0', ...device, lost: false },
    { id: 'cuda:1', ...device, lost: true },
  ],
  ...{ running: 1, queued: 3, queueLimit: 8, stepsRun: 40, restarts: 6, controlnetEvaluations: 2 },
};
const bySize = new Map([
  [2, 4],
  [4, 1],
]);
const occupancy = { runs: 5, rows: 12, batchedRows: 8, bySize };
const memory = { device: 'cpu', weights: 1000, arenas: 200, tensors: 30, scratch: 4 };

describe('metrics', () => {
  const metrics = new Metrics({ info: () => info, memory: () => [memory], occupancy });
  let isReady = false;
  let server: RunningOperations;
  beforeAll(async () => {
    const { registry } = metrics;
    server = await startOperations({ host: '127.0.0.1', port: 0, registry, isReady: () => isReady });
  });
  afterAll(() => server.close());
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${server.port}${path}`, init);

  it('are written as Prometheus reads them', async () => {
    metrics.call({ requestId: 'a', method: 'Generate', code: 'ok', ms: 700 });
    metrics.call({ requestId: 'b', method: 'Generate', code: 'cancelled', ms: 9 });
    metrics.waited(30);
    metrics.waited(2000, errors.cancelled());
    metrics.waited(0, errors.queueFull(8, 500));
    metrics.waited(70, new Error('unexpected'));
    for (const ms of [40, 60]) metrics.stepped({ model: 'a "b"\\', width: 64, height: 72, images: 2 }, ms);
    const response = await get('/metrics');
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    expect(wrongLines(text)).toEqual([]);
    for (const line of [
      'latent_edge_requests_total{method="Generate",code="ok"} 1',
      'latent_edge_requests_total{method="Generate",code="cancelled"} 1',
      'latent_edge_request_seconds_count{method="Generate"} 1',
      'latent_edge_queue_wait_seconds_bucket{le="0.05",outcome="begun"} 1',
      'latent_edge_queue_wait_seconds_sum{outcome="cancelled"} 2',
      'latent_edge_queue_wait_seconds_count{outcome="queue_full"} 1',
      'latent_edge_queue_wait_seconds_count{outcome="internal"} 1',
      'latent_edge_step_seconds_sum{model="a \\"b\\"\\\\",size="64x72",images="2"} 0.1',
      'latent_edge_requests_waiting 3',
      'latent_edge_steps_total 40',
      'latent_edge_restarts_total 6',
      'latent_edge_device_up{device="cuda:0"} 1',
      'latent_edge_device_up{device="cuda:1"} 0',
      'latent_edge_unet_runs_total 5',
      'latent_edge_unet_rows_total 12',
      'latent_edge_unet_shared_rows_total 8',
      'latent_edge_unet_runs_by_rows_total{rows="2"} 4',
      'latent_edge_unet_runs_by_rows_total{rows="4"} 1',
      'latent_edge_memory_bytes{device="cpu",kind="weights"} 1000',
    ])
      expect(text.split('\n')).toContain(line);
    // Counts that are kept elsewhere are the same when they are asked for again.
    expect(await (await get('/metrics')).text()).toContain('\nlatent_edge_steps_total 40\n');
  });

  it('have no more series than a hundred plans take', async () => {
    for (let n = 1; n < 300; n++) metrics.stepped({ model: 'm', width: 8 * n, height: 8, images: 1 }, 1);
    const text = await metrics.registry.metrics();
    expect(text.match(/^latent_edge_step_seconds_count/gm)!.length).toBe(101);
    expect(text).toMatch(/latent_edge_step_seconds_count\{model="other",size="other",images="other"\} \d+/);
  });

  it('stand beside probes', async () => {
    expect((await get('/livez')).status).toBe(200);
    expect((await get('/readyz')).status).toBe(503);
    isReady = true;
    expect((await get('/readyz')).status).toBe(200);
    expect((await get('/nope')).status).toBe(404);
    expect((await get('/metrics', { method: 'POST', body: 'x' })).status).toBe(405);
  });
});

/** Lines that are none of the text format's, series without a type, names that say no unit as is usual. */
function wrongLines(text: string): string[] {
  const types = new Map<string, string>();
  const label = '[a-zA-Z_]\\w*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
  const sample = new RegExp(
    `^([a-zA-Z_:][\\w:]*)(\\{${label}(,${label})*\\})? (-?\\d[\\d.e+-]*|Na[Nn]|[+-]Inf)$`,
  );
  return text.split('\n').filter((line) => {
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line);
    if (type) types.set(type[1]!, type[2]!);
    if (line === '' || type || /^# HELP \S+ \S/.test(line)) return false;
    const name = sample.exec(line)?.[1];
    if (name === undefined) return true;
    const base = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
    return !types.has(base) || (types.get(base) === 'counter') !== base.endsWith('_total');
  });
}

describe('the log', () => {
  const entry = { requestId: 'r1', method: 'Generate', code: 'ok', ms: 12.34, what: 'm 64x64 1×4' };

  it('is lines for people', () => {
    const lines: string[] = [];
    callLogger('text', (line) => lines.push(line))(entry);
    expect(lines).toEqual([expect.stringMatching(/^\S+Z Generate ok 12 ms r1 m 64x64 1×4$/)]);
  });

  it('is objects for machines, with prompts only where they were wanted', () => {
    const lines: string[] = [];
    const log = callLogger('json', (line) => lines.push(line));
    log(entry);
    log({ ...entry, prompts: { prompt: 'a\nb', negativePrompt: '' } });
    const [plain, told] = lines.map((line) => JSON.parse(line));
    expect(plain).toEqual({
      ...{ time: expect.any(String), level: 'info', method: 'Generate', code: 'ok', ms: 12 },
      ...{ what: 'm 64x64 1×4', request_id: 'r1' },
    });
    expect(told).toMatchObject({ prompt: 'a\nb', negative_prompt: '' });
    expect(lines.every((line) => !line.includes('\n'))).toBe(true);
  });
});
