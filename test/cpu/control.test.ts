import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeSafetensors } from '../../sidecar/checkpoints/write.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { inspect } from '../../sidecar/engine/inspect.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { greyPicture, homeWithControlNets } from '../support/controls.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { readTensors } from '../support/safetensors.ts';

// What ControlNets do to requests, and what they cost.

const CANNY = 'tiny-controlnet-sd15-canny';
const DEPTH = 'tiny-controlnet-sd15-depth';
const loras = new Map([
  ['peft', fileURLToPath(new URL('../fixtures/loras/tiny-sd15-peft.safetensors', import.meta.url))],
]);

let home: string;
let engine: Engine;
let image: Buffer;
beforeAll(async () => {
  home = await homeWithControlNets(['tiny-sd15', 'tiny-sd21-v', 'tiny-ldm-uncond']);
  await untrained(join(home, 'controlnets', 'untrained'));
  engine = await Engine.open({ folders: new ModelFolders([home]), adapterFiles: loras, concurrency: 2 });
  image = await greyPicture(64, 72, (x, y) => (((x >> 3) + (y >> 3)) % 2) * 255);
});
afterAll(async () => {
  await engine.dispose();
  await rm(home, { recursive: true });
});

/** A ControlNet as it is before its training: its zero convolutions are zeros. */
async function untrained(folder: string) {
  await mkdir(folder);
  await cp(await fixtureModel(CANNY), folder, { recursive: true, dereference: true });
  const name = (await readdir(folder)).find((file) => file.endsWith('.safetensors'))!;
  const tensors = readTensors(join(folder, name));
  for (const [key, { data }] of Object.entries(tensors))
    if (/^controlnet_(down_blocks|mid_block)/.test(key)) data.fill(0);
  await writeSafetensors(
    join(folder, name),
    Object.fromEntries(
      Object.entries(tensors).map(([key, { shape, data }]) => [
        key,
        { shape, data: Float32Array.from(data) },
      ]),
    ),
  );
}

const small = {
  model: 'tiny-sd15',
  prompt: 'a boat',
  width: 64,
  height: 72,
  steps: 4,
  sampler: 'euler',
  seeds: [3],
};

async function run(control: object[], request: object = {}) {
  const { images, effective } = await engine.generate({ ...small, ...request, control, returnLatents: true });
  return {
    latents: images.map(({ latents }) => latents!.data),
    evaluations: effective.control.map(({ evaluations }) => evaluations),
    effective,
  };
}

const canny = (fields: object = {}) => ({ model: CANNY, image, ...fields });
const depth = (fields: object = {}) => ({ model: DEPTH, image, ...fields });

describe('without a part in the run', () => {
  it.each([
    ['scale 0', { scale: [0] }],
    ['a scale of 0 for each step', { scale: [0, 0, 0, 0] }],
    ['factors of the levels that are 0', { levelScale: Array(13).fill(0) }],
    ['an empty window', { start: 0.5, end: 0.5 }],
    ['a window between two steps', { start: 0.3, end: 0.45 }],
  ])('%s: bit for bit the run without it, nothing evaluated, nothing loaded', async (_, fields) => {
    const plain = await run([]);
    const idle = await run([depth(fields)]);
    expect(idle.latents).toEqual(plain.latents);
    expect(idle.evaluations).toEqual([0]);
    expect(idle.effective.control[0]!.modelHash).toBe('');
    expect((await engine.models()).find(({ name }) => name === DEPTH)).toMatchObject({ loaded: false });
  });

  it('zero convolutions that are zeros: bit for bit the run without it', async () => {
    const plain = await run([]);
    for (const request of [{}, { guessMode: true }]) {
      const same = await run([{ model: 'untrained', image }], request);
      expect(same.latents).toEqual(plain.latents);
      expect(same.evaluations).toEqual([request.guessMode ? 4 : 8]);
    }
  });
});

describe('evaluations', () => {
  it('are those of the window, by image and text', async () => {
    const { evaluations } = await run([canny({ start: 0.25 }), depth({ end: 0.5, scale: [1, 0, 1, 1] })], {
      seeds: [1, 2],
    });
    expect(evaluations).toEqual([3 * 4, 1 * 4]);
    expect((await run([canny()], { guidanceScale: 1 })).evaluations).toEqual([4]);
  });

  it('are half under guess mode and where the hint is to count more', async () => {
    expect((await run([canny()], { guessMode: true })).evaluations).toEqual([4]);
    const modes = await run([canny({ mode: 'control' }), depth({ mode: 'prompt' })]);
    expect(modes.evaluations).toEqual([4, 8]);
  });
});

describe('several ways to the same images', () => {
  it('images with seeds of their own come out the same alone', async () => {
    const units = [canny({ mode: 'control', end: 0.75 }), depth({ scale: [0.6] })];
    const together = await run(units, { seeds: [5, 6, 7] });
    for (const [i, seed] of [5, 6, 7].entries())
      expect((await run(units, { seeds: [seed] })).latents[0]).toEqual(together.latents[i]);
  });

  it('a scale for each step is that scale; one ControlNet twice is twice the scale', async () => {
    const one = await run([canny({ scale: [0.5] })]);
    expect((await run([canny({ scale: [0.5, 0.5, 0.5, 0.5] })])).latents).toEqual(one.latents);
    expect((await run([canny({ levelScale: Array(13).fill(0.5) })])).latents).toEqual(one.latents);
    expect(one.latents).not.toEqual((await run([])).latents);
    const [twice, double] = [
      await run([canny({ scale: [0.5] }), canny({ scale: [0.5] })]),
      await run([canny()]),
    ];
    const difference = twice.latents[0]!.map((value, i) => Math.abs(value - double.latents[0]![i]!));
    expect(Math.max(...difference)).toBeLessThan(1e-4);
  });

  it('requests that run at once do not change each other', async () => {
    const requests = [
      () => run([canny()]),
      () => run([canny(), depth({ start: 0.5 })], { guessMode: true }),
      () => run([]),
      () => run([depth()], { adapters: [{ name: 'peft', scale: 1 }] }),
    ];
    const alone = [];
    for (const request of requests) alone.push((await request()).latents);
    expect((await Promise.all(requests.map((request) => request()))).map(({ latents }) => latents)).toEqual(
      alone,
    );
    // An adapter changes what a ControlNet steers.
    expect(alone[3]).not.toEqual((await run([depth()])).latents);
  });
});

describe('the picture', () => {
  it('is the one to begin from, where a unit has none; a preprocessor makes the hint of it', async () => {
    const begun = { initImage: image, strength: 0.5 };
    const own = await run([canny({ preprocessor: 'canny' })], begun);
    const shared = await run([{ model: CANNY, preprocessor: 'canny' }], begun);
    expect(shared.latents).toEqual(own.latents);
    expect(shared.evaluations).toEqual([4]);
    expect(shared.effective.control[0]!.unit.preprocessorOptions).toMatchObject({ low_threshold: 100 });
    expect(own.latents).not.toEqual((await run([canny()], begun)).latents);
  });

  it('is cut as the picture is, where only the masked part is made', async () => {
    const mask = await greyPicture(64, 72, (x, y) => (x < 16 && y < 24 ? 255 : 0));
    const masked = { initImage: image, mask, onlyMaskedPadding: 8, width: 64, height: 64 };
    const whole = await run([canny()], masked);
    // What is far from the mask is not seen.
    const far = await greyPicture(64, 72, (x, y) =>
      x < 40 && y < 40 ? (((x >> 3) + (y >> 3)) % 2) * 255 : 99,
    );
    expect((await run([canny({ image: far })], masked)).latents).toEqual(whole.latents);
    const near = await greyPicture(64, 72, () => 99);
    expect((await run([canny({ image: near })], masked)).latents).not.toEqual(whole.latents);
  });

  it('is as large as the second pass', async () => {
    const { evaluations, latents } = await run([canny()], { hiresScale: 2, hiresStrength: 0.5 });
    expect(evaluations).toEqual([8 + 4]);
    expect(latents[0]).not.toEqual((await run([], { hiresScale: 2, hiresStrength: 0.5 })).latents[0]);
  });
});

describe('refused before any work', () => {
  const refused = async (control: object[], request: object, error: object) => {
    let queued = false;
    const generating = engine.generate(
      { ...small, ...request, control },
      { onQueued: () => (queued = true) },
    );
    await expect(generating).rejects.toMatchObject(error);
    expect(queued).toBe(false);
  };

  it.each([
    [
      [{ model: 'nobody' }],
      {},
      { code: 'controlnet_not_found', field: 'control[0].model', message: /tiny-controlnet-sd15-canny/ },
    ],
    [[{ model: 'tiny-sd15' }], {}, { code: 'controlnet_not_found' }],
    [
      [{ model: CANNY }],
      {},
      { code: 'invalid_argument', field: 'control[0].image', message: /no init_image/ },
    ],
    [
      [{ model: CANNY, image: Buffer.from('GIF89a…') }],
      {},
      { field: 'control[0].image', message: /PNG, JPEG or WebP/ },
    ],
    [[{ model: CANNY, preprocessor: 'magic' }], {}, { field: 'control[0].preprocessor' }],
    [[{ model: CANNY, scale: [1, 1, 1] }], {}, { field: 'control[0].scale', message: /each of 4 steps/ }],
    [[{ model: CANNY, levelScale: [1, 1] }], {}, { field: 'control[0].level_scale', message: /13 numbers/ }],
    [Array(9).fill({ model: CANNY }), {}, { field: 'control' }],
    [
      [{ model: CANNY }, { model: 'tiny-controlnet-sdxl-canny' }],
      {},
      {
        code: 'invalid_argument',
        field: 'control[1].model',
        message: /cross_attention_dim is 32, .* cross_attention_dim is 64/,
      },
    ],
    [[{ model: CANNY }], { model: 'tiny-ldm-uncond' }, { field: 'control', message: /takes no text/ }],
  ])('%o', async (control, request, error) => {
    const { message, ...rest } = error as { message?: RegExp };
    const pictured = control.map((unit, i) =>
      i === 0 && !/init_image/.test(String(message)) ? { image, ...unit } : { ...unit },
    );
    if (pictured.length > 1) pictured[1] = { image, ...pictured[1]! };
    await refused(pictured, request, {
      ...rest,
      ...(message && { message: expect.stringMatching(message) }),
    });
  });

  it('a ControlNet cannot be the model', async () => {
    await refused([], { model: CANNY }, { code: 'model_not_found' });
  });
});

describe('memory', () => {
  it('has models and ControlNets under one budget, and goes when they go', async () => {
    const { memoryBytes } = await inspect(join(home, 'tiny-sd15'));
    const one = await Engine.open({ folders: new ModelFolders([home]), memoryBudget: 1.3 * memoryBytes });
    const loaded = async () => (await one.models()).flatMap(({ name, loaded }) => (loaded ? [name] : []));
    const make = (control: object[], request: object = {}) =>
      one.generate({ ...small, steps: 1, ...request, control });
    const bytes = () => one.info().devices[0]!.weightsBytes;
    await make([]);
    const alone = bytes();
    const first = await make([canny()]);
    const withCanny = bytes();
    expect(withCanny).toBeGreaterThan(alone);
    expect(await loaded()).toEqual(['tiny-sd15', CANNY]);
    // Two at once pass the budget; the one used less recently goes once they are not in use.
    await make([canny(), depth()]);
    await make([depth()]);
    expect(await loaded()).toEqual(['tiny-sd15', DEPTH]);
    await make([canny()]);
    expect(await loaded()).toEqual(['tiny-sd15', CANNY]);
    expect(bytes()).toBe(withCanny);
    const again = await make([canny()]);
    expect(again.images[0]!.file.equals(first.images[0]!.file)).toBe(true);
    // Another model, without a ControlNet.
    await make([], { model: 'tiny-sd21-v' });
    await one.dispose();
  });
});
