import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Row } from '../../sidecar/engine/denoiser.ts';
import { kindOf } from '../../sidecar/engine/denoiser.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { Model } from '../../sidecar/engine/model.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { greyPicture, homeWithControlNets } from '../support/controls.ts';

// An image does not depend on who shared its batch.

const CANNY = 'tiny-controlnet-sd15-canny';
const EMBEDDED = fileURLToPath(new URL('../../models/tiny-emoji-ldm', import.meta.url));

let home: string;
let engine: Engine;
let image: Buffer;
beforeAll(async () => {
  home = await homeWithControlNets(['tiny-sd15']);
  const peft = fileURLToPath(new URL('../fixtures/loras/tiny-sd15-peft.safetensors', import.meta.url));
  engine = await Engine.open({
    folders: new ModelFolders([home, EMBEDDED]),
    adapterFiles: new Map([['peft', peft]]),
  });
  image = await greyPicture(64, 64, (x, y) => (((x >> 3) + (y >> 3)) % 2) * 255);
});
afterAll(async () => {
  await engine.dispose();
  await rm(home, { recursive: true });
});

async function run(request: object, options: object = {}) {
  const { images } = await engine.generate(
    { width: 64, height: 64, ...request, returnLatents: true },
    options,
  );
  return images.map(({ file, latents }) => ({ file, latents: latents!.data }));
}

describe('requests that run together come out as they do alone, bit for bit', () => {
  it('the embedded model: prompts, seeds, steps, samplers, guidance on and off, images', async () => {
    const emoji = { model: 'tiny-emoji-ldm' };
    const requests = [
      { ...emoji, prompt: 'red apple', seeds: [1], steps: 5 },
      { ...emoji, prompt: 'cat face', seeds: [2], steps: 4, sampler: 'euler-ancestral', guidanceScale: 3 },
      { ...emoji, prompt: 'rocket', seeds: [3], steps: 5, guidanceScale: 1, sampler: 'dpmpp-2m' },
      { ...emoji, prompt: 'sun', seeds: [4, 5, 6], steps: 3, sampler: 'heun' },
      { ...emoji, prompt: 'frog', seeds: [7], steps: 5, negativePrompt: 'cat', guidanceRescale: 0.5 },
      { ...emoji, prompt: 'house', seeds: [8], steps: 4, initImage: image, strength: 0.5 },
    ];
    const alone = [];
    for (const request of requests) alone.push(await run(request));
    const before = engine.occupancy.batchedRows;
    expect(await Promise.all(requests.map((request) => run(request)))).toEqual(alone);
    expect(engine.occupancy.batchedRows).toBeGreaterThan(before);
    // And once more, when it is known what batches cost.
    expect(await Promise.all(requests.toReversed().map((request) => run(request)))).toEqual(
      alone.toReversed(),
    );
  });

  it('with a ControlNet for some, an adapter, another size, a second pass', async () => {
    const tiny = { model: 'tiny-sd15', sampler: 'euler', steps: 5 };
    const canny = (fields: object = {}) => [{ model: CANNY, image, ...fields }];
    const requests = [
      { ...tiny, prompt: 'a', seeds: [1], control: canny() },
      { ...tiny, prompt: 'b', seeds: [2], control: canny({ scale: [0.5], end: 0.6 }) },
      { ...tiny, prompt: 'c', seeds: [3], control: canny({ preprocessor: 'canny' }), guessMode: true },
      { ...tiny, prompt: 'd', seeds: [4] },
      { ...tiny, prompt: 'd', seeds: [4], adapters: [{ name: 'peft', scale: 1 }] },
      { ...tiny, prompt: 'e', seeds: [5] },
      { ...tiny, prompt: 'e', seeds: [5], height: 72 },
      { ...tiny, prompt: 'f', seeds: [6], guidanceScale: 1, hiresScale: 2, hiresStrength: 0.5 },
      { ...tiny, prompt: `${'long '.repeat(100)}`, seeds: [7] },
    ];
    const alone = [];
    for (const request of requests) alone.push(await run(request));
    const before = engine.occupancy.batchedRows;
    const counted = engine.info().controlnetEvaluations;
    expect(await Promise.all(requests.map((request) => run(request)))).toEqual(alone);
    expect(engine.occupancy.batchedRows).toBeGreaterThan(before);
    expect(engine.info().controlnetEvaluations - counted).toBe(5 * 2 + 3 * 2 + 5);
    expect(alone[3]).not.toEqual(alone[4]);
  });

  it('where one of them leaves midway', async () => {
    const emoji = { model: 'tiny-emoji-ldm', steps: 8 };
    const requests = [1, 2, 3].map((seed) => ({ ...emoji, prompt: 'panda', seeds: [seed] }));
    const alone = [];
    for (const request of requests) alone.push(await run(request));
    const controller = new AbortController();
    let steps = 0;
    const onProgress = ({ step }: { step: number }) => {
      steps = step;
      if (step === 4) controller.abort(new Error('left'));
    };
    const together = requests.map((request, i) =>
      run(request, i === 1 ? { signal: controller.signal, onProgress } : {}),
    );
    await expect(together[1]).rejects.toThrow('left');
    expect(steps).toBe(4);
    expect([await together[0], await together[2]]).toEqual([alone[0], alone[2]]);
    expect(engine.info()).toMatchObject({ running: 0, queued: 0 });
  });
});

describe('a row', () => {
  let device: NativeDevice;
  let model: Model;
  beforeAll(async () => {
    device = await native().open({ device: 'cpu', threads: 2, poison: true });
    model = await Model.load({ name: 'emoji', dir: EMBEDDED }, device);
  });
  afterAll(async () => {
    await model.dispose();
    await device.dispose();
  });

  it('is the same bits in batches of any size and at any place, also beside NaN', async () => {
    const { denoiser } = model;
    const { channels } = model.autoencoder;
    const size = { height: 16, width: 16 };
    const tokens = 77;
    const width = (model.checkpoint as { unet: { config: { cross_attention_dim: number } } }).unet.config
      .cross_attention_dim;
    const values = (n: number, seed: number) =>
      Float32Array.from({ length: n }, (_, i) => Math.sin(seed + i * 1.7));
    const rows: Row[] = [];
    for (let i = 0; i < 7; i++) {
      const context = await denoiser.context({ encoder_hidden_states: values(tokens * width, i) });
      const sample = values(channels * 256, 100 + i);
      if (i === 3) sample.fill(Number.NaN);
      rows.push({ sample, timestep: 100 * i + 1, context, controls: [] });
    }
    // Another text for the same image: what comes before the first text is computed once for both.
    rows.push({ ...rows[0]!, context: rows[1]!.context });
    const kind = kindOf(rows[0]!, size);
    const alone: Float32Array[] = [];
    for (const row of rows) alone.push((await denoiser.predict(kind, [row]))[0]!);
    expect(alone[3]!.every(Number.isNaN)).toBe(true);
    for (const order of [
      [0, 1],
      [2, 1, 0],
      [6, 5, 4, 3],
      [0, 1, 2, 3, 4, 5, 6],
      [0, 0],
      [0, 7],
      [4, 7, 0, 4],
      [0, 7, 1],
    ]) {
      const together = await denoiser.predict(
        kind,
        order.map((i) => rows[i]!),
      );
      expect(together.map((prediction) => Buffer.from(prediction.slice().buffer).toString('base64'))).toEqual(
        order.map((i) => Buffer.from(alone[i]!.slice().buffer).toString('base64')),
      );
    }
  });
});
