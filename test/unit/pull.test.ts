import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isSafePath, parseWanted } from '../../sidecar/hub/files.ts';
import { type PullOptions, pull } from '../../sidecar/hub/pull.ts';
import { type FakeHub, type FakeHubOptions, startHub } from '../support/hub.ts';

const weights = (seed: number, size = 5000) =>
  Buffer.from(Array.from({ length: size }, (_, i) => (i * seed) % 251));

// Everything that a folder on the hub holds, wanted or not.
const folder = {
  '.gitattributes': '*.safetensors filter=lfs',
  'README.md': '# model',
  'model_index.json': '{"_class_name": "StableDiffusionPipeline"}',
  'model.safetensors': weights(1),
  'model.ckpt': weights(2),
  'scheduler/scheduler_config.json': '{}',
  'tokenizer/merges.txt': 'a b',
  'tokenizer/vocab.json': '{"a": 0}',
  'text_encoder/config.json': '{"x": 1}',
  'text_encoder/model.safetensors': weights(3),
  'text_encoder/model.fp16.safetensors': weights(4),
  'text_encoder/pytorch_model.bin': weights(5),
  'unet/config.json': '{"x": 2}',
  'unet/diffusion_pytorch_model.safetensors.index.json': '{"weight_map": {}}',
  'unet/diffusion_pytorch_model-00001-of-00002.safetensors': weights(6),
  'unet/diffusion_pytorch_model-00002-of-00002.safetensors': weights(7),
  'unet/diffusion_pytorch_model.fp16.safetensors': weights(8),
  'unet/train.py': 'import os',
  'vae/config.json': '{"x": 3}',
  'vae/diffusion_pytorch_model.safetensors': weights(9),
  'safety_checker/config.json': '{}',
  'safety_checker/model.safetensors': weights(10),
  'a: picture.png': 'x',
};

const fp16 = [
  'model_index.json',
  'scheduler/scheduler_config.json',
  'text_encoder/config.json',
  'text_encoder/model.fp16.safetensors',
  'tokenizer/merges.txt',
  'tokenizer/vocab.json',
  'unet/config.json',
  'unet/diffusion_pytorch_model.fp16.safetensors',
  'vae/config.json',
  'vae/diffusion_pytorch_model.safetensors',
] as const;

let home: string;
let hub: FakeHub | undefined;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterEach(async () => {
  await hub?.stop();
  hub = undefined;
  await rm(home, { recursive: true });
});

async function start(options: FakeHubOptions = {}, repo: Record<string, Buffer | string> = folder) {
  hub = await startHub({ 'owner/model@main': repo }, options);
  return hub;
}

const get = (wanted: string, options: PullOptions = {}) =>
  pull(wanted, home, { endpoint: hub!.url, pauseMs: 1, ...options });

/** Files beneath a folder, sorted. */
async function files(dir = home): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return paths.map((path) => path.slice(dir.length + 1)).sort();
}

describe('a folder', () => {
  it('comes with what it is read from, of the variant, and nothing else', async () => {
    await start({ page: 5 });
    const seen: number[] = [];
    const dir = await get('owner/model', {
      variant: 'fp16',
      onProgress: ({ done, total }) => seen.push(done / total),
    });
    expect(dir).toBe(join(home, 'model'));
    expect(await files(dir)).toEqual(['.latent-edge-origin.json', ...fp16]);
    for (const path of fp16)
      expect((await readFile(join(dir, path))).equals(Buffer.from(folder[path]))).toBe(true);
    expect(seen.at(-1)).toBe(1);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(await readdir(home)).toEqual(['model']);
  });

  it('comes with the shards of its index, and changes its variant', async () => {
    await start();
    const dir = await get('owner/model', { variant: 'fp16' });
    await get('owner/model');
    const unet = (await files(dir)).filter((path) => path.startsWith('unet/'));
    expect(unet).toEqual([
      'unet/config.json',
      'unet/diffusion_pytorch_model-00001-of-00002.safetensors',
      'unet/diffusion_pytorch_model-00002-of-00002.safetensors',
      'unet/diffusion_pytorch_model.safetensors.index.json',
    ]);
  });

  it('is not downloaded again', async () => {
    const { requests } = await start();
    await get('owner/model');
    requests.length = 0;
    await get('owner/model');
    expect(requests.map(({ path }) => path)).toEqual(['/api/models/owner/model/tree/main']);
  });

  it('is a component alone, where there is no index', async () => {
    await start(
      {},
      {
        'config.json': '{}',
        'diffusion_pytorch_model.safetensors': weights(1),
        'taesd_decoder.pth': 'x',
      },
    );
    expect(await files(await get('owner/model'))).toEqual([
      '.latent-edge-origin.json',
      'config.json',
      'diffusion_pytorch_model.safetensors',
    ]);
  });

  it('is never written into what something else is', async () => {
    await start();
    await mkdir(join(home, 'model'));
    await writeFile(join(home, 'model', 'mine.txt'), 'x');
    await expect(get('owner/model')).rejects.toThrow(
      /Expected no folder at .+model, or one pulled from owner\/model/,
    );
    expect(await files()).toEqual(['model/mine.txt']);
  });
});

describe('one file', () => {
  it('comes alone', async () => {
    await start();
    expect(await get('owner/model/model.safetensors')).toBe(join(home, 'model.safetensors'));
    expect(await files()).toEqual(['model.safetensors']);
  });

  it.each([
    [
      'owner/model/other.safetensors',
      /Expected other\.safetensors in owner\/model but found model\.safetensors/,
    ],
    ['owner/model/model.ckpt', /Expected OWNER\/NAME/],
    ['owner/model/../x.safetensors', /Expected OWNER\/NAME/],
    ['../..', /Expected OWNER\/NAME/],
    ['owner', /Expected OWNER\/NAME/],
    ['owner/none', /Expected owner\/none at revision main on .+ but there is none/],
  ])('%s', async (wanted, message) => {
    await start();
    await expect(get(wanted)).rejects.toThrow(message);
    expect(await files()).toEqual([]);
  });

  it('does not take the place of another', async () => {
    await start();
    await writeFile(join(home, 'model.safetensors'), 'mine');
    await expect(get('owner/model/model.safetensors')).rejects.toThrow(
      /Expected no file at .+, or the one in owner\/model/,
    );
    expect(await readFile(join(home, 'model.safetensors'), 'utf8')).toBe('mine');
  });
});

describe('a connection that is cut', () => {
  it('is taken up again where it was', async () => {
    const { requests } = await start({ cut: { after: 2000, times: 2 } });
    const file = await get('owner/model/model.safetensors');
    expect((await readFile(file)).equals(folder['model.safetensors'])).toBe(true);
    const ranges = requests.filter(({ path }) => path.includes('/bytes/')).map(({ range }) => range);
    expect(ranges).toEqual([undefined, 'bytes=2000-', 'bytes=4000-']);
  });

  it('keeps what came for the next call', async () => {
    const { requests } = await start({ cut: { after: 1500, times: 1 } });
    const first = get('owner/model/model.safetensors', { retries: 0 });
    await expect(first).rejects.toThrow(/the connection failed .+ What came is kept: run the command again/);
    expect(await files()).toEqual([
      expect.stringMatching(/^\.model\.safetensors\.pull\/model\.safetensors\.\w{12}\.part$/),
    ]);
    const file = await get('owner/model/model.safetensors');
    expect((await readFile(file)).equals(folder['model.safetensors'])).toBe(true);
    expect(requests.at(-1)!.range).toBe('bytes=1500-');
    expect(await files()).toEqual(['model.safetensors']);
  });

  it('begins anew where the server sends no parts', async () => {
    await start({ cut: { after: 2000, times: 1 }, ranges: false });
    const file = await get('owner/model/model.safetensors');
    expect((await readFile(file)).equals(folder['model.safetensors'])).toBe(true);
  });

  it('is said, when there is nothing at the other end', async () => {
    const { url, stop } = await start();
    await stop();
    await expect(pull('owner/model', home, { endpoint: url })).rejects.toThrow(
      /Expected an answer from .+ but the connection failed/,
    );
  });

  it('leaves no model behind when the work is stopped', async () => {
    await start();
    const stop = new AbortController();
    const onProgress = ({ path }: { path: string }) =>
      path.startsWith('unet/') && stop.abort(new Error('stopped'));
    await expect(get('owner/model', { signal: stop.signal, onProgress })).rejects.toThrow(/stopped|abort/);
    expect(await readdir(home)).toEqual(['.model.pull']);
  });
});

describe('what the hub says', () => {
  it.each(['model.safetensors', 'unet/config.json'])('must be what comes: %s', async (path) => {
    await start({ damaged: [path] });
    const wanted = path.endsWith('.safetensors') ? `owner/model/${path}` : 'owner/model';
    await expect(get(wanted)).rejects.toThrow(
      /Expected [0-9a-f]{40,64} for the hash of .+ but received [0-9a-f]{40,64}/,
    );
    expect((await files()).filter((file) => file.endsWith(path) || file.endsWith('.part'))).toEqual([]);
  });

  it.each([
    '../evil.json',
    '/etc/evil.json',
    'unet/../../evil.json',
    'unet\\..\\evil.json',
    'unet//config.json',
    'a\0b',
  ])('may not lead out of the folder: %j', async (path) => {
    await start({ listed: [path] });
    await expect(get('owner/model')).rejects.toThrow(
      `Expected names of files inside owner/model but received ${JSON.stringify(path)}`,
    );
    expect(await files()).toEqual([]);
  });

  it('must be safetensors', async () => {
    const { 'vae/diffusion_pytorch_model.safetensors': _, ...others } = folder;
    await start({}, { ...others, 'vae/diffusion_pytorch_model.bin': 'x' });
    await expect(get('owner/model')).rejects.toThrow(
      /Expected safetensors in vae\/ of owner\/model but found only vae\/diffusion_pytorch_model\.bin/,
    );
  });

  it('must be a latent diffusion model', async () => {
    await start({}, { 'model_index.json': '{}', 'transformer/config.json': '{}', 'vae/config.json': '{}' });
    await expect(get('owner/model')).rejects.toThrow(/owner\/model has no unet\/config\.json/);
    await hub!.stop();
    await start({}, { 'v1-5.safetensors': weights(1) });
    await expect(get('owner/model')).rejects.toThrow(/name one, owner\/model\/v1-5\.safetensors/);
  });
});

describe('a token', () => {
  it('opens what is private', async () => {
    const { requests } = await start({ token: 'secret' });
    await get('owner/model/model.safetensors', { token: 'secret' });
    expect(requests.every(({ token }) => token === 'secret')).toBe(true);
  });

  it('goes to nobody that the hub refers to', async () => {
    const storage = await startHub({ 'owner/model@main': folder });
    const { requests } = await start({ token: 'secret', storage: storage.url });
    await get('owner/model/model.safetensors', { token: 'secret' });
    expect(requests.map(({ token }) => token)).toEqual(['secret', 'secret']);
    expect(storage.requests.map(({ token }) => token)).toEqual([undefined]);
    await storage.stop();
  });

  it('that is missing or wrong is said', async () => {
    await start({ token: 'secret' });
    await expect(get('owner/model')).rejects.toThrow(
      /Expected access to owner\/model on .+ but received status 401: .+ set HF_TOKEN/,
    );
    await expect(get('owner/model', { token: 'other' })).rejects.toThrow(
      /401: the token in HF_TOKEN may not read it/,
    );
    expect(await files()).toEqual([]);
  });
});

it('reads names', () => {
  expect(parseWanted('a/b')).toEqual({ repo: 'a/b' });
  expect(parseWanted('a/b.c/d/e.safetensors')).toEqual({ repo: 'a/b.c', file: 'd/e.safetensors' });
  expect(['a', 'a/b', '.git', 'a..b'].every(isSafePath)).toBe(true);
  expect(['', '.', '..', 'a/..', '/a', 'a/', 'a\\b', 'a\nb'].some(isSafePath)).toBe(false);
});
