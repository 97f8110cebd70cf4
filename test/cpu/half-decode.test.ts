import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import type { Precision } from '../../sidecar/native.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { readTensors, writeTensors } from '../support/safetensors.ts';

// Autoencoders whose activations are too large for float16, as those of Stable Diffusion XL are.

let root: string;
const engines = new Map<Precision, Engine>();
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'latent-edge-half-'));
  await overflowing('tiny-sd15', 'large', 1e5);
  await overflowing('tiny-sdxl', 'large-xl', 1e5, { force_upcast: false });
  await overflowing('tiny-sdxl', 'forced-xl', 1e5, { force_upcast: true });
  await overflowing('tiny-sd15', 'too-large', 1e37);
  await symlink(await fixtureModel('tiny-sd15'), join(root, 'plain'));
  for (const dtype of ['f32', 'f16', 'bf16'] as const)
    engines.set(dtype, await Engine.open({ folders: new ModelFolders([root]), dtype }));
});
afterAll(async () => {
  await Promise.all([...engines.values()].map((engine) => engine.dispose()));
  await rm(root, { recursive: true });
});

/** A model with a decoder and an encoder whose first layers give so many times more, which the norms take back. */
async function overflowing(base: string, name: string, factor: number, config = {}): Promise<void> {
  const dir = join(root, name);
  const source = await fixtureModel(base);
  const vae = join(dir, 'vae');
  await cp(join(source, 'vae'), vae, { recursive: true, dereference: true });
  for (const part of await readdir(source))
    if (part !== 'vae') await symlink(join(source, part), join(dir, part));
  const file = join(vae, 'diffusion_pytorch_model.safetensors');
  const tensors = Object.entries(readTensors(file)).map(([key, { shape, data }]) => {
    const scale = /^(en|de)coder\.conv_in\./.test(key) ? factor : 1;
    const scaled = (data as Float32Array<ArrayBuffer>).map((x) => x * scale);
    return [key, { dtype: 'F32', shape, data: new Uint8Array(scaled.buffer) }] as const;
  });
  writeTensors(file, Object.fromEntries(tensors));
  const configFile = join(vae, 'config.json');
  const own = JSON.parse(await readFile(configFile, 'utf8'));
  await writeFile(configFile, JSON.stringify({ ...own, ...config }));
}

const asked = { prompt: 'a boat', sampler: 'euler', steps: 2, seeds: [1], guidanceScale: 1 };
const made = (dtype: Precision, model: string, request = {}) =>
  engines.get(dtype)!.generate({ ...asked, model, ...request });

const note = 'decoder: f16 gave NaN or infinity; decoded in float32';

describe('in float16', () => {
  test('what overflows is decoded again in float32, and said', async () => {
    const { images, effective } = await made('f16', 'large', { count: 2 });
    expect(effective.notes).toEqual([note]);
    expect(images).toHaveLength(2);
  });

  test('with force_upcast it is float32 from the start: the same picture', async () => {
    const [repeated, forced] = [await made('f16', 'large-xl'), await made('f16', 'forced-xl')];
    expect([repeated.effective.notes, forced.effective.notes]).toEqual([[note], []]);
    const idat = (png: Buffer) => png.subarray(png.indexOf('IDAT'));
    expect(idat(forced.images[0]!.file)).toEqual(idat(repeated.images[0]!.file));
  });

  test('a picture to begin from is encoded so, too', async () => {
    const initImage = (await made('f32', 'plain')).images[0]!.file;
    const { images } = await made('f16', 'large', { initImage, strength: 0.5 });
    expect(images).toHaveLength(1);
  });

  test('what does not overflow is not', async () => {
    expect((await made('f16', 'plain')).effective.notes).toEqual([]);
  });

  test('what overflows in float32 is an error', async () => {
    await expect(made('f16', 'too-large')).rejects.toMatchObject({ code: 'not_finite' });
  });
});

test('bfloat16 reaches as far as float32', async () => {
  for (const model of ['large', 'forced-xl']) expect((await made('bf16', model)).effective.notes).toEqual([]);
});

test('in float32 it is an error, as it was', async () => {
  expect((await made('f32', 'large')).effective.notes).toEqual([]);
  await expect(made('f32', 'too-large')).rejects.toMatchObject({
    code: 'not_finite',
    message: expect.stringContaining('Expected finite numbers in the decoded image'),
  });
});
