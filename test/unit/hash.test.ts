import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { modelHash } from '../../sidecar/checkpoints/hash.ts';
import type { WeightSource } from '../../sidecar/native.ts';

let dir: string;
let cacheFile: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  cacheFile = join(dir, 'cache', 'hashes.json');
});
afterEach(() => rm(dir, { recursive: true }));

const values = Float32Array.from({ length: 300 * 500 }, (_, i) => Math.sin(i));
const bytes = new Uint8Array(values.buffer);
async function written(name: string, data: Uint8Array = bytes): Promise<string> {
  await writeFile(join(dir, name), data);
  return join(dir, name);
}
const half = { dtype: 'F32' as const, shape: [150, 500] };
const halves = (file: string): WeightSource[] => [
  { ...half, name: 'a', file, offset: 0 },
  { ...half, name: 'b', file, offset: bytes.length / 2 },
];
const kept = async () => Object.values(JSON.parse(await readFile(cacheFile, 'utf8')) as object);

describe('modelHash', () => {
  it('is the same for one file, two, memory, and a matrix that lies transposed', async () => {
    const middle = values.length / 2;
    const [one, two] = [values.subarray(0, middle), values.subarray(middle)];
    const turned = Float32Array.from(two, (_, i) => two[(i % 150) * 500 + Math.floor(i / 150)]!);
    const [file, other] = [await written('1'), await written('2', bytes.subarray(bytes.length / 2))];
    const sideways = await written('3', new Uint8Array(turned.buffer));
    const [a, b] = halves(file) as [WeightSource, WeightSource];
    const variants: WeightSource[][] = [
      [a, b],
      [{ ...half, name: 'b', file: other, offset: 0 }, a],
      [
        { ...half, name: 'a', data: one },
        { ...half, name: 'b', data: two },
      ],
      [a, { ...half, name: 'b', file: sideways, offset: 0, transposed: true }],
    ];
    const hashes = await Promise.all(variants.map((unet) => modelHash({ unet }, { cacheFile })));
    expect(new Set(hashes).size).toBe(1);
    expect(await modelHash({ vae: variants[0]! }, { cacheFile })).not.toBe(hashes[0]);
  });

  it('is kept, the newest 256, in a file that is written whole', async () => {
    const old = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`old${i}`, `${i}`]));
    await mkdir(join(dir, 'cache'));
    await writeFile(cacheFile, JSON.stringify(old));
    const hash = await modelHash({ unet: halves(await written('w')) }, { cacheFile });
    expect(await kept()).toHaveLength(256);
    expect((await kept()).at(-1)).toBe(hash);
    const names = ['x', 'y', 'z'];
    await Promise.all(
      names.map(async (name) => modelHash({ unet: halves(await written(name)) }, { cacheFile })),
    );
    expect(await readdir(join(dir, 'cache'))).toEqual(['hashes.json']);
  });

  it('of a file that ends early is an error, and not kept', async () => {
    const file = await written('short', bytes.subarray(0, 1000));
    await expect(modelHash({ unet: halves(file) }, { cacheFile })).rejects.toThrow(
      `Expected 300000 bytes at 0 but the file ends, in ${file}`,
    );
    await expect(kept()).rejects.toThrow('ENOENT');
  });
});
