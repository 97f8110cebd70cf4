import { cp, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { Evaluator } from '../../sidecar/engine/evaluator.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { readTensors, writeTensors } from '../support/safetensors.ts';

let home: string;
let engine: Engine;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  for (const name of ['whole', 'nan', 'huge', 'cut', 'text'])
    await cp(await fixtureModel('tiny-sd15'), join(home, name), { recursive: true, dereference: true });
  await cp(await fixtureModel('tiny-sd21-v'), join(home, 'other'), { recursive: true, dereference: true });
  engine = await Engine.open({ folders: new ModelFolders([home]), concurrency: 3 });
});
afterAll(async () => {
  await engine.dispose();
  await rm(home, { recursive: true });
});

const small = { prompt: 'x', width: 64, height: 64, steps: 2, seeds: [1] };
const latentsOf = async (request: object) =>
  (await engine.generate({ ...small, ...request, returnLatents: true })).images.map(
    ({ latents }) => latents!.data,
  );

describe('requests at once', () => {
  it('do not change each other, whatever they share the device with', async () => {
    const requests = [
      { model: 'whole', prompt: 'a', steps: 4 },
      { model: 'whole', prompt: 'b', sampler: 'euler-ancestral', guidanceScale: 1, seeds: [2] },
      { model: 'other', prompt: 'c', seeds: [3], count: 2 },
      { model: 'whole', prompt: 'd', height: 72, sampler: 'dpmpp-2m', steps: 3, negativePrompt: 'e' },
      { model: 'other', prompt: 'f', guidanceRescale: 0.5, clipSkip: 1 },
    ];
    const alone = [];
    for (const request of requests) alone.push(await latentsOf(request));
    expect(await Promise.all(requests.map(latentsOf))).toEqual(alone);
  });

  it('take turns, so that a short one does not wait for a long one', async () => {
    const ended: string[] = [];
    const run = async (name: string, steps: number) => {
      await engine.generate({ ...small, model: 'whole', steps });
      ended.push(name);
    };
    await Promise.all([run('long', 40), run('short', 2)]);
    expect(ended).toEqual(['short', 'long']);
  });
});

describe('a device', () => {
  it('is told of an interactive request until it gets in line, or fails', async () => {
    const told: string[] = [];
    const { expect: real, exclusive } = Evaluator.prototype;
    const expected = vi.spyOn(Evaluator.prototype, 'expect').mockImplementation(function (this: Evaluator) {
      told.push('comes');
      const end = real.call(this);
      return () => {
        if (told.at(-1) === 'comes') told.push('is there');
        end();
      };
    });
    const first = vi.spyOn(Evaluator.prototype, 'exclusive').mockImplementation(function (
      this: Evaluator,
      ...given
    ) {
      told.push('text');
      first.mockRestore();
      return exclusive.apply(this, given) as Promise<never>;
    });
    await engine.generate({ ...small, model: 'whole', prompt: 'not said before', steps: 1 });
    expect(told).toEqual(['comes', 'is there', 'text']);
    await engine.generate({ ...small, model: 'whole', steps: 1, priority: 'bulk' });
    expect(told).toHaveLength(3);
    await expect(engine.generate({ ...small, model: 'nowhere' })).rejects.toThrow('nowhere');
    expect(told.slice(3)).toEqual(['comes', 'is there']);
    expected.mockRestore();
  });
});

describe('leaving', () => {
  it('frees the place, and whatever the request had on the device', async () => {
    await engine.generate({ ...small, model: 'whole' });
    const before = engine.info();
    for (const at of [0, 1, 3]) {
      const controller = new AbortController();
      const run = engine.generate(
        { ...small, model: 'whole', steps: 50 },
        {
          signal: controller.signal,
          onQueued: () => at === 0 && controller.abort(new Error('left')),
          onProgress: ({ step }) => step === at && controller.abort(new Error('left')),
        },
      );
      await expect(run).rejects.toThrow('left');
    }
    const after = engine.info();
    expect(after.stepsRun - before.stepsRun).toBe(4);
    expect([after.running, after.queued]).toEqual([0, 0]);
    expect(after.devices[0]!.arenaBytes).toBe(before.devices[0]!.arenaBytes);
  });
});

it('runs one step more at most, whenever it is left', async () => {
  await engine.generate({ ...small, model: 'whole' });
  for (const [request, ms] of [
    [{}, 11],
    [{ sampler: 'heun' }, 23],
    [{ count: 3 }, 37],
  ] as const) {
    const controller = new AbortController();
    const run = engine.generate(
      { ...small, seeds: [], ...request, model: 'whole', steps: 500 },
      { signal: controller.signal },
    );
    let at = 0;
    setTimeout(() => {
      at = engine.info().stepsRun;
      controller.abort(new Error('left'));
    }, ms);
    await expect(run).rejects.toThrow('left');
    expect(engine.info().stepsRun - at).toBeLessThanOrEqual(1);
  }
});

describe('bad models', () => {
  /** Changes one tensor of the copy's U-Net. */
  async function change(model: string, name: string, value: number): Promise<string> {
    const dir = join(home, model, 'unet');
    const file = join(dir, 'diffusion_pytorch_model.safetensors');
    const tensors = Object.entries(readTensors(file)).map(([key, { shape, data }]) => {
      const values = key === name ? new Float32Array(data.length).fill(value) : Float32Array.from(data);
      return [key, { dtype: 'F32', shape, data: new Uint8Array(values.buffer) }] as const;
    });
    await rm(file);
    writeTensors(file, Object.fromEntries(tensors));
    return dir;
  }

  it('with NaN in them are named, tensor and all', async () => {
    const dir = await change('nan', 'conv_in.bias', Number.NaN);
    await expect(engine.generate({ ...small, model: 'nan' })).rejects.toMatchObject({
      name: 'CheckpointError',
      message: expect.stringMatching(new RegExp(`conv_in.bias.+NaN.+in ${dir}`)),
    });
  });

  it('that come to NaN are named, step and all', async () => {
    await change('huge', 'conv_out.bias', 3e38);
    await expect(engine.generate({ ...small, sampler: 'euler', model: 'huge' })).rejects.toMatchObject({
      code: 'not_finite',
      message: expect.stringMatching(/step 2 .+ huge /),
    });
  });

  it('that are cut short are named, and the others still serve', async () => {
    const file = join(home, 'cut', 'vae', 'diffusion_pytorch_model.safetensors');
    await truncate(file, 1000);
    const onQueued = () => expect.fail('it waited');
    await expect(engine.generate({ ...small, model: 'cut' }, { onQueued })).rejects.toThrow(file);
    await writeFile(
      join(home, 'text', 'scheduler', 'scheduler_config.json'),
      '{"_class_name": "NopeScheduler"}',
    );
    await expect(engine.generate({ ...small, model: 'text' })).rejects.toThrow(/NopeScheduler/);
    const models = (await engine.models()).map(({ name }) => name);
    expect(models).toEqual(expect.arrayContaining(['whole', 'other']));
    for (const name of ['cut', 'text']) expect(models).not.toContain(name);
    expect((await engine.generate({ ...small, model: 'whole' })).images).toHaveLength(1);
  });
});

describe('what a model cannot do', () => {
  it.each([
    [{ clipSkip: 11 }, 'clip_skip'],
    [{ sampler: 'nope' }, 'sampler'],
    [{ sampler: 'ddim', schedule: 'karras' }, 'schedule'],
    [{ sampler: 'euler', schedule: 'nope' }, 'schedule'],
    [{ steps: 1000, sampler: 'nope' }, 'sampler'],
    [{ width: 100 }, 'width'],
    [{ hiresScale: 4, width: 4096 }, 'hires_scale'],
  ])('%o is refused before it waits', async (request, field) => {
    let queued = 0;
    const onQueued = () => queued++;
    await expect(
      engine.generate({ ...small, model: 'whole', ...request }, { onQueued }),
    ).rejects.toMatchObject({ code: 'invalid_argument', field });
    expect(queued).toBe(0);
  });
});

describe('defaults', () => {
  it('are the checkpoint’s, then those of latent-edge.json', async () => {
    const { effective } = await engine.generate({ prompt: 'x', model: 'other', steps: 1 });
    expect(effective).toMatchObject({
      guidanceScale: 7.5,
      sampler: 'ddim',
      schedule: 'default',
      negativePrompt: '',
    });
    const settings = {
      steps: 3,
      guidance_scale: 0,
      sampler: 'dpmpp-2m',
      schedule: 'karras',
      width: 64,
      height: 72,
    };
    const dir = join(home, 'settled');
    await cp(join(home, 'whole'), dir, { recursive: true });
    await writeFile(join(dir, 'latent-edge.json'), JSON.stringify(settings));
    const own = (await engine.generate({ prompt: 'x', negativePrompt: 'y', model: 'settled' })).effective;
    expect(own).toMatchObject({
      steps: 3,
      guidanceScale: 0,
      sampler: 'dpmpp-2m',
      schedule: 'karras',
      width: 64,
      height: 72,
    });
    expect(own.ignored).toEqual(['negative_prompt: guidance is off (guidance_scale 0)']);
    const asked = (await engine.generate({ prompt: 'x', model: 'settled', sampler: 'euler' })).effective;
    expect(asked).toMatchObject({ sampler: 'euler', schedule: 'default' });
  });
});
