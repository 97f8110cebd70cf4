import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { writeSafetensors } from '../../sidecar/checkpoints/write.ts';
import { findLearnedWords, readLearnedWord, splitAtWords } from '../../sidecar/text/learned-words.ts';

const EMBEDDINGS = fileURLToPath(new URL('../fixtures/embeddings', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'learned-words-'));
});
afterAll(() => rm(folder, { recursive: true }));

const tensor = (...shape: number[]) => ({
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5),
});

/** A folder of embeddings: tensors of each file by name. */
async function embeddings(name: string, files: Record<string, Record<string, ReturnType<typeof tensor>>>) {
  const home = join(folder, name);
  await mkdir(home);
  for (const [file, tensors] of Object.entries(files)) await writeSafetensors(join(home, file), tensors);
  return home;
}

describe('which words there are', () => {
  test('by file name, and by the token that diffusers saves', async () => {
    const words = await findLearnedWords([EMBEDDINGS, join(folder, 'not-there')]);
    const files = Object.fromEntries([...words].map(([word, file]) => [word, basename(file)]));
    expect(files).toEqual({
      'one-vector': 'one-vector.safetensors',
      sketchy: 'sketchy.safetensors',
      'tiny-toy': 'tiny-toy.safetensors',
      'two-towers': 'two-towers.safetensors',
      '<one>': 'one-vector.safetensors',
      '<tiny-toy>': 'tiny-toy.safetensors',
    });
  });

  test('the first folder counts, and file names before tokens; a token needs a letter or a digit', async () => {
    const first = await embeddings('first', { 'Same.safetensors': { emb_params: tensor(1, 4) } });
    const second = await embeddings('second', {
      'same.safetensors': { emb_params: tensor(1, 4) },
      'b.safetensors': { a: tensor(4) },
      'a.safetensors': { '*': tensor(4) },
    });
    const words = await findLearnedWords([first, second]);
    expect([...words]).toEqual([
      ['same', join(first, 'Same.safetensors')],
      ['a', join(second, 'a.safetensors')],
      ['b', join(second, 'b.safetensors')],
    ]);
  });

  test('files of other kinds, damaged ones and links that lead out', async () => {
    const home = await embeddings('odd', { 'inside.safetensors': { emb_params: tensor(1, 4) } });
    await writeFile(join(home, 'pickle.pt'), 'x');
    await writeFile(join(home, 'damaged.safetensors'), 'x');
    await mkdir(join(home, 'folder.safetensors'));
    await symlink('inside.safetensors', join(home, 'alias.safetensors'));
    await symlink(join(EMBEDDINGS, 'sketchy.safetensors'), join(home, 'out.safetensors'));
    await symlink('/etc/passwd', join(home, 'passwd.safetensors'));
    await symlink('nowhere', join(home, 'dangling.safetensors'));
    const words = await findLearnedWords([home]);
    expect([...words.keys()]).toEqual(['alias', 'damaged', 'folder', 'inside']);
    await expect(readLearnedWord(words.get('damaged')!, [{ encoder: 'clip', width: 4 }], 75)).rejects.toThrow(
      /damaged\.safetensors/,
    );
  });
});

describe('where they stand', () => {
  const words = new Map(['toy', 'toy box', '<toy>', 'bad-hands', 'ü_1', 'дом'].map((word) => [word, word]));
  /** Text, or the word in braces. */
  const split = (text: string) =>
    splitAtWords([{ text, weight: 1 }], words)
      .map((piece) => (piece.word === undefined ? piece.text : `{${piece.word}}`))
      .join('');

  test.each([
    ['a toy', 'a {toy}'],
    ['toy', '{toy}'],
    ['Toy, TOY.', '{toy}, {toy}.'],
    ['toys atoy toy_ toy2 ütoy', 'toys atoy toy_ toy2 ütoy'],
    ['a toy box', 'a {toy box}'],
    ['a toy boxer', 'a {toy} boxer'],
    ['<toy><toy>a<toy>b', '{<toy>}{<toy>}a{<toy>}b'],
    ['bad-hands, bad -hands', '{bad-hands}, bad -hands'],
    ['Ü_1 ДОМ домик', '{ü_1} {дом} домик'],
    ['İ toy', 'İ {toy}'],
    ['', ''],
  ])('%j', (text, expected) => {
    expect(split(text)).toBe(expected);
  });

  test('weight and break stay', () => {
    expect(splitAtWords([{ text: 'toy b', weight: 1.2, startsChunk: true }], words)).toEqual([
      { text: '', weight: 1.2, word: 'toy', startsChunk: true },
      { text: ' b', weight: 1.2 },
    ]);
  });

  test('nothing else changes', () => {
    const part = fc.constantFrom('toy', ' ', 'box', '<', '>', 'bad', '-', 'hands', 'x', '🐙');
    fc.assert(
      fc.property(fc.array(part), (parts) => {
        const text = parts.join('');
        expect(split(text).replace(/[{}]/g, '')).toBe(text);
      }),
    );
  });

  test('names of requests are never paths', () => {
    const pieces = splitAtWords([{ text: '../toy ../../etc/passwd /toy', weight: 1 }], words);
    expect(pieces.filter(({ word }) => word).map(({ word }) => words.get(word!))).toEqual(['toy', 'toy']);
  });

  test('64 KB among 2,000 words take no time', () => {
    const many = new Map(Array.from({ length: 2000 }, (_, i) => [`emb${(i * 7919).toString(36)}`, '']));
    const start = performance.now();
    for (const text of ['emb ', 'e', 'emb', '- ']) {
      splitAtWords([{ text: text.repeat(2 ** 16 / text.length), weight: 1 }], many);
    }
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});

describe('what is in a file', () => {
  const clip = (width: number) => [{ encoder: 'clip', width } as const];
  const xl = [
    { encoder: 'clip_l', width: 32 },
    { encoder: 'clip_g', width: 32 },
  ] as const;
  const file = (name: string) => join(EMBEDDINGS, `${name}.safetensors`);

  test.each([
    ['sketchy', clip(32), [2]],
    ['tiny-toy', clip(32), [3]],
    ['one-vector', clip(32), [1]],
    ['two-towers', xl, [2, 2]],
    ['two-towers', xl.slice(1), [2]],
  ])('%s', async (name, encoders, counts) => {
    const vectors = await readLearnedWord(file(name), encoders, 75);
    expect(vectors.map(({ length }) => length)).toEqual(counts);
    expect(vectors.flat().every(({ length }) => length === 32)).toBe(true);
  });

  test.each([
    [
      'sketchy',
      clip(768),
      75,
      /^Expected emb_params or .* \[1…75, 768\].* received emb_params \[2, 32\], in .*sketchy/,
    ],
    ['tiny-toy', clip(32), 2, /\[1…2, 32\].* received <tiny-toy> \[3, 32\]/],
    ['two-towers', clip(32), 75, /Expected emb_params .*received clip_g \[2, 32\], clip_l \[2, 32\]/],
    ['sketchy', xl, 75, /Expected clip_l \[1…75, 32\].*received emb_params \[2, 32\]/],
  ])('%s does not fit', async (name, encoders, longest, message) => {
    const reading = readLearnedWord(file(name), encoders, longest);
    await expect(reading).rejects.toThrow(CheckpointError);
    await expect(reading).rejects.toThrow(message);
  });

  test.each([
    [
      'many',
      { a: tensor(1, 4), b: tensor(1, 4), c: tensor(1), d: tensor(1), e: tensor(1) },
      /… \(5 tensors\)/,
    ],
    ['none', {}, /received no tensors/],
    ['empty', { emb_params: tensor(0, 4) }, /received emb_params \[0, 4\]/],
    ['deep', { emb_params: tensor(1, 1, 4) }, /received emb_params \[1, 1, 4\]/],
    ['nan', { emb_params: { shape: [1, 4], data: Float32Array.of(0, 1, Number.NaN, 2) } }, /finite numbers/],
  ])('%s cannot be used', async (name, tensors, message) => {
    const home = await embeddings(`unusable-${name}`, { 'x.safetensors': tensors });
    await expect(readLearnedWord(join(home, 'x.safetensors'), clip(4), 75)).rejects.toThrow(message);
  });

  test('as many vectors for each text encoder', async () => {
    const home = await embeddings('uneven', {
      'x.safetensors': { clip_l: tensor(2, 32), clip_g: tensor(3, 32) },
    });
    await expect(readLearnedWord(join(home, 'x.safetensors'), xl, 75)).rejects.toThrow(/received 2 and 3/);
  });
});
