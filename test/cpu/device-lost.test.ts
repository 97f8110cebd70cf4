import { fileURLToPath } from 'node:url';
import { afterEach, expect, it, vi } from 'vitest';
import { checkUp } from '../../sidecar/doctor/check-up.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';

// A device that fails for good, in the middle of work.

const dir = fileURLToPath(new URL('../../models/tiny-emoji-ldm', import.meta.url));
afterEach(() => vi.unstubAllEnvs());

async function open(device: string, faults = '', options: object = {}) {
  vi.stubEnv('LATENT_EDGE_TEST_LOSE', faults);
  const lost: string[] = [];
  const engine = await Engine.open({
    ...{ folders: new ModelFolders([dir]), device, threads: 2, ...options },
    onDeviceLost: (id, { message }) => lost.push(`${id}: ${message}`),
  });
  return { engine, lost };
}

const request = (seed: number) => ({ prompt: 'red apple', seeds: [seed], steps: 4 });

it('its requests are begun again on another and come out the same; others are not touched', async () => {
  const whole = await open('cpu');
  const expected = [];
  for (let seed = 0; seed < 4; seed++) expected.push((await whole.engine.generate(request(seed))).images);
  await whole.engine.dispose();

  const { engine, lost } = await open('cpu*2', 'cpu:1=7');
  const steps: number[][] = expected.map(() => []);
  const results = await Promise.all(
    expected.map((_, seed) =>
      engine.generate(request(seed), { onProgress: ({ step }) => steps[seed]!.push(step) }),
    ),
  );
  expect(results.map(({ images }) => images)).toEqual(expected);
  expect(lost).toEqual(['cpu:1: lost after 7 runs, as it was told to be']);
  const { restarts, devices } = engine.info();
  expect(restarts).toBeGreaterThan(0);
  expect(devices.map((device) => device.lost)).toEqual([false, true]);
  // Progress begins again too.
  for (const of of steps) expect(of.slice(-4)).toEqual([1, 2, 3, 4]);
  await expect.poll(() => engine.info().devices[1]!.weightsBytes).toBe(0);

  expect((await engine.generate(request(0))).images).toEqual(expected[0]);
  expect(engine.info()).toMatchObject({ running: 0, queued: 0 });
  await engine.dispose();
});

it('one that hangs is found out by the time that a run takes, and lost likewise', async () => {
  vi.stubEnv('LATENT_EDGE_TEST_HANG', 'cpu:1=7');
  const { engine, lost } = await open('cpu*2', '', { runTimeout: 3 });
  const results = await Promise.all([0, 1, 2, 3].map((seed) => engine.generate(request(seed))));
  expect(lost).toEqual([expect.stringMatching(/^cpu:1: a run of \w+ has not ended within \d+ s: it hangs/)]);
  expect(engine.info().devices.map((device) => device.lost)).toEqual([false, true]);
  for (const [seed, { images }] of results.entries())
    expect((await engine.generate(request(seed))).images).toEqual(images);
  // It does not wait for it.
  await engine.dispose();
});

it('the last one leaves none without an answer', async () => {
  const { engine, lost } = await open('cpu', 'cpu=5', { concurrency: 2 });
  const all = await Promise.allSettled([1, 2, 3, 4].map((seed) => engine.generate(request(seed))));
  await engine.lost;
  for (const result of all) expect(result.status).toBe('rejected');
  const codes = new Set(all.map((result) => (result as PromiseRejectedResult).reason.code));
  expect([...codes].sort()).toEqual(['ERR_DEVICE_LOST', 'device_lost']);
  await expect(engine.generate(request(5))).rejects.toMatchObject({ code: 'device_lost' });
  expect(lost).toHaveLength(1);
  await engine.dispose();
});

it('is told by doctor', async () => {
  vi.stubEnv('LATENT_EDGE_TEST_LOSE', 'cpu=3');
  const findings = [];
  for await (const finding of checkUp({ device: 'cpu' })) findings.push(finding);
  expect(findings.at(-1)).toMatchObject({
    ...{ name: 'cpu kernels', ok: false, detail: 'lost: lost after 3 runs, as it was told to be' },
    advice: expect.stringContaining('nvidia-smi'),
  });
});

it('so is one that hangs', async () => {
  vi.stubEnv('LATENT_EDGE_TEST_HANG', 'cpu=3');
  const findings = [];
  for await (const finding of checkUp({ device: 'cpu', runTimeout: 3 })) findings.push(finding);
  expect(findings.at(-1)).toMatchObject({
    ...{ name: 'cpu kernels', ok: false, detail: expect.stringMatching(/^lost: .+ within \d+ s: it hangs/) },
    advice: expect.stringContaining('nvidia-smi'),
  });
});
