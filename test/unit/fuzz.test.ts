import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { fileText } from '../../edge/a1111/file-text.ts';
import { parseHeader } from '../../sidecar/checkpoints/header.ts';
import { openPicture } from '../../sidecar/engine/picture.ts';
import { readTensor } from '../../sidecar/engine/tensors/tensor.ts';
import { ServiceError } from '../../sidecar/errors.ts';
import { mutator } from '../support/mutate.ts';

// Sound files with bytes changed at random, from a seed: parsers give what is sound or say what they expected. More of
// it, from another seed: FUZZ_ROUNDS=1000000 FUZZ_SEED=7 npx vitest run --project unit test/unit/fuzz.test.ts

const ROUNDS = Number(process.env.FUZZ_ROUNDS) || undefined;
const SEED = Number(process.env.FUZZ_SEED) || 1;
const TIMEOUT = ROUNDS ? 2 ** 31 - 1 : undefined;

describe('safetensors headers', () => {
  const file = readFileSync(new URL('../fixtures/cases/unet-sd15.safetensors', import.meta.url));
  const length = Number(file.readBigUInt64LE(0));
  const header = file.subarray(8, 8 + length);
  const data = file.length - 8 - length;
  const words = [
    '"dtype":',
    '"shape":',
    '"data_offsets":',
    '"__metadata__":',
    'F32',
    '[[[[',
    '}',
    '1e309',
    '-1',
    '9007199254740993',
  ];

  it('are read soundly or refused', { timeout: TIMEOUT }, () => {
    const mutate = mutator(SEED, words);
    let read = 0;
    for (let round = 0; round < (ROUNDS ?? 5000); round++) {
      const bytes = round === 0 ? header : mutate(header);
      try {
        const { tensors } = parseHeader(bytes, data);
        read++;
        const ranges = tensors.map(({ offset, bytes }) => [offset, offset + bytes] as const);
        ranges.sort(([a], [b]) => a - b);
        let at = 8 + bytes.length;
        for (const [from, to] of ranges) {
          if (from !== to) expect(from).toBe(at);
          at = Math.max(at, to);
        }
        expect(at).toBe(8 + bytes.length + data);
      } catch (error) {
        expect((error as Error).message, String(bytes)).toMatch(/^Expected /);
      }
    }
    // The sound one, and some whose names alone have changed.
    expect(read).toBeGreaterThan(10);
  });
});

describe('pictures', () => {
  let files: Buffer[];
  beforeAll(async () => {
    const pixels = Buffer.from(Array.from({ length: 24 * 16 * 4 }, (_, i) => (i * 37) % 256));
    const image = () => sharp(pixels, { raw: { width: 24, height: 16, channels: 4 } });
    const exif = { IFD0: { ImageDescription: 'a boat' }, IFD2: { UserComment: 'parameters' } };
    files = await Promise.all([
      image().png().toBuffer(),
      image().png({ palette: true, progressive: true }).toBuffer(),
      image().withExif(exif).jpeg().toBuffer(),
      image().withExif(exif).webp().toBuffer(),
    ]);
  });

  it('are decoded or refused by name', { timeout: TIMEOUT }, async () => {
    const mutate = mutator(SEED);
    let decoded = 0;
    for (let round = 0; round < (ROUNDS ?? 400); round++) {
      const bytes = mutate(files[round % files.length]!);
      try {
        const picture = await openPicture(bytes, 'init_image');
        expect(picture.width * picture.height).toBeLessThanOrEqual(2 ** 26);
        // What it says it is may be far larger than it was.
        const size = { width: Math.min(picture.width, 64), height: Math.min(picture.height, 64) };
        expect((await picture.rgb(size)).length).toBe(3 * size.width * size.height);
        decoded++;
      } catch (error) {
        expect(error).toBeInstanceOf(ServiceError);
        expect(error).toMatchObject({ code: 'invalid_argument', field: 'init_image' });
      }
    }
    expect(decoded).toBeGreaterThan(10);
  });

  it('tell what they were made with, or nothing', { timeout: TIMEOUT }, () => {
    const mutate = mutator(SEED, [
      'tEXtparameters\0',
      'iTXtparameters\0',
      'Exif\0\0II*\0',
      'EXIF',
      '\xff\xe1',
    ]);
    for (let round = 0; round < (ROUNDS ?? 5000); round++) {
      const text = fileText(mutate(files[round % files.length]!));
      expect(['string', 'undefined']).toContain(typeof text);
    }
  });

  it('say how large they are before they are decoded', async () => {
    const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#fff' } })
      .png()
      .toBuffer();
    const bomb = Buffer.from(image);
    // IHDR: width and height; its checksum is not looked at before the limit is.
    bomb.writeUInt32BE(100_000, 16);
    bomb.writeUInt32BE(100_000, 20);
    const before = process.memoryUsage().rss;
    await expect(openPicture(bomb, 'mask')).rejects.toMatchObject({
      code: 'invalid_argument',
      field: 'mask',
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28);
  });
});

it('tensors of calls are read or refused', { timeout: TIMEOUT }, () => {
  const mutate = mutator(SEED);
  const shapes = [
    [1, 4, 2, 2],
    [],
    [0],
    [-1, 4],
    [2 ** 53, 1, 1, 1],
    ['1', '4', '2', '2'],
    [1, 4, 2, 2.5],
    [1, 4, 2, Number.NaN],
  ];
  for (let round = 0; round < (ROUNDS ?? 2000); round++) {
    const data = mutate(Buffer.alloc(64, round));
    const side = { min: 1, max: 8 };
    try {
      const { shape } = readTensor('latents', { dtype: 'F32', shape: shapes[round % shapes.length]!, data }, [
        1,
        4,
        side,
        side,
      ]);
      expect(4 * shape.reduce((a, b) => a * b)).toBe(data.length);
    } catch (error) {
      expect(error).toMatchObject({ code: 'invalid_argument', message: expect.stringMatching(/^Expected /) });
    }
  }
});
