import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it } from 'vitest';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';

// latent-edge serve, as a process of its own.

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'serve-'));
afterAll(() => rmSync(folder, { recursive: true }));

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

function serve(env: Record<string, string>, args: string[] = []) {
  const script = join(ROOT, 'sidecar/bin/latent-edge.mjs');
  const child = spawn(process.execPath, [script, 'serve', ...args], { env: { ...process.env, ...env } });
  started.push(child);
  const output = { err: '' };
  child.stderr.on('data', (chunk) => {
    output.err += chunk;
  });
  const status = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { child, output, status };
}

it('is set by a file, logs as JSON, serves metrics, and ends with status 0', async () => {
  const token = 'a-token-of-this-test';
  writeFileSync(join(folder, 'tokens'), `${token}\n`);
  const file = join(folder, 'latent-edge.json');
  const sidecar = {
    host: '0.0.0.0',
    port: 0,
    token_file: join(folder, 'tokens'),
    metrics_port: 0,
    log: 'json',
  };
  writeFileSync(file, JSON.stringify({ sidecar }));
  const { child, output, status } = serve({ LATENT_EDGE_CONFIG: file });
  await expect.poll(() => output.err, { timeout: 100_000 }).toContain('/metrics');
  const port = /grpc:\/\/0\.0\.0\.0:(\d+)/.exec(output.err)![1];
  const metrics = /metrics at (\S+)/.exec(output.err)![1]!;
  expect(metrics).toMatch(/^http:\/\/127\.0\.0\.1:/);

  const client = grpcSidecar(`127.0.0.1:${port}`, { token });
  const request = { prompt: 'a secret apple', seeds: [1], steps: 2 };
  const events = [];
  for await (const { event } of client.generate(request, { requestId: 'r-1' })) events.push(event);
  expect(events.at(-1)).toBe('result');
  const text = await (await fetch(metrics)).text();
  expect(text).toContain('latent_edge_requests_total{method="Generate",code="ok"} 1');
  expect(text).toMatch(/latent_edge_step_seconds_count\{model="tiny-emoji-ldm",size="64x64",images="1"\} 2/);
  expect((await fetch(new URL('/readyz', metrics))).status).toBe(200);
  client.close();

  child.kill('SIGTERM');
  expect(await status).toBe(0);
  const lines = output.err.split('\n').filter((line) => line.startsWith('{'));
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ method: 'Generate', code: 'ok', request_id: 'r-1', level: 'info' }),
  ]);
  expect(output.err).not.toContain('secret');
});

it.each([
  ['fails', { LATENT_EDGE_TEST_LOSE: 'cpu=9' }, 'lost after 9 runs'],
  [
    'hangs',
    { LATENT_EDGE_TEST_HANG: 'cpu=9', LATENT_EDGE_RUN_TIMEOUT: '2' },
    'a run of unet has not ended within',
  ],
])(
  'ends with a status of its own, its callers answered, when its last device %s',
  async (_, fault, error) => {
    const { output, status } = serve({ GRPC_PORT: '0', LATENT_EDGE_LOG: 'json', ...fault });
    await expect.poll(() => output.err, { timeout: 100_000 }).toContain('grpc://');
    const port = /grpc:\/\/127\.0\.0\.1:(\d+)/.exec(output.err)![1];
    const client = grpcSidecar(`127.0.0.1:${port}`);
    const read = async () => {
      for await (const _ of client.generate({ prompt: 'x', seeds: [1], steps: 50 }));
    };
    await expect(read()).rejects.toMatchObject({ code: 'device_lost', httpStatus: 503, retryAfterMs: 5000 });
    client.close();
    expect(await status).toBe(69);
    expect(output.err).toContain(`"level":"error","code":"device_lost","device":"cpu","error":"${error}`);
    expect(output.err).toContain('no device is left, ending with status 69');
  },
);

it.each<[string, Record<string, string>, RegExp]>([
  [
    'an open port without tokens',
    { GRPC_HOST: '0.0.0.0' },
    /Expected a token .+ as other machines reach 0.0.0.0/,
  ],
  [
    'what is no number',
    { GRPC_PORT: 'x' },
    /Expected a whole number from 0 to 65535 for GRPC_PORT but received "x"/,
  ],
])('refuses %s', async (_, env, message) => {
  const { output, status } = serve(env);
  expect(await status).toBe(1);
  expect(output.err).toMatch(message);
});
