import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { standardTokenizer, standardVocabulary } from '../../sidecar/text/standard-vocabulary.ts';
import { ClipTokenizer } from '../../sidecar/text/tokenizer.ts';
import { loadTokenizerFiles } from '../../sidecar/text/tokenizer-files.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

const [START, END] = [49406, 49407];

let folder: string;
let tokenizer: ClipTokenizer;
let temporary: string;

beforeAll(async () => {
  folder = await fixtureModel('clip-tokenizer');
  tokenizer = await ClipTokenizer.load(folder);
  temporary = await mkdtemp(join(tmpdir(), 'tokenizer-'));
});
afterAll(() => rm(temporary, { recursive: true }));

/** A folder with the same vocabulary and other settings; `undefined` leaves a file out. */
async function variant(name: string, files: Record<string, unknown>): Promise<string> {
  const to = join(temporary, name);
  await cp(folder, to, { recursive: true, filter: (path) => !/\.(json|txt)$/.test(path) });
  for (const file of ['vocab.json', 'merges.txt']) {
    if (!(file in files)) await symlink(join(folder, file), join(to, file));
  }
  for (const [file, contents] of Object.entries(files)) {
    if (contents !== undefined) {
      await writeFile(join(to, file), typeof contents === 'string' ? contents : JSON.stringify(contents));
    }
  }
  return to;
}

describe('ids of the reference', () => {
  test.each(['tokenizer', 'tokenizer-hostile'])('%s', (name) => {
    const { params, tensors } = fixtureCase(name);
    const ids = tensors['out.input_ids']!.data;
    for (const [i, text] of (params.texts as string[]).entries()) {
      expect([text, [...tokenizer.encode(text).ids]]).toEqual([text, [...ids.slice(i * 77, (i + 1) * 77)]]);
    }
  });

  const spelled = 'a <|StartOfText|> X<|endoftext|>y';
  const exclamations = 'wow!!! really! <|endoftext|>  !a';

  test('plain special tokens are found in the text as it came', () => {
    expect(tokenizer.tokenize(spelled)).toEqual([320, 27, 347, 993, 6659, 4160, 91, 285, 343, END, 344]);
    expect(tokenizer.tokenize(exclamations)).toEqual([2781, 995, 1414, 256, END, 256, 320]);
  });

  test('those of the published folders after lower-casing', async () => {
    const token = (content: string) => ({ __type: 'AddedToken', content, normalized: true, lstrip: false });
    const config = {
      bos_token: token('<|startoftext|>'),
      eos_token: token('<|endoftext|>'),
      model_max_length: 77,
    };
    const published = await ClipTokenizer.load(
      await variant('published', { 'tokenizer_config.json': config }),
    );
    expect(published.tokenize(spelled)).toEqual([320, START, 343, END, 344]);
  });

  test('a padding token of its own is one wherever it stands, as in SD 2.x and SDXL', async () => {
    const map = { 'special_tokens_map.json': { pad_token: '!' } };
    const padded = await ClipTokenizer.load(await variant('pad', map));
    expect(padded.padId).toBe(0);
    expect(padded.tokenize(exclamations)).toEqual([2781, 0, 0, 0, 1414, 0, END, 0, 320]);
    expect([...padded.encode('', { maxLength: 4 }).ids]).toEqual([START, END, 0, 0]);
  });
});

describe('added tokens', () => {
  const texts = [
    ...['a <cat-toy> b', 'a<cat-toy>b', 'a <CAT-TOY>', 'zyx foo, Zyx Foo', '<cat-toy><cat-toy>'],
    ...['sword word words WORD', '_word word_ 1word word-a', 'a  <l>  b', 'a <|StartOfText|> b'],
  ];

  // What transformers 5's CLIPTokenizer gives for the same folders.
  test('of added_tokens.json', async () => {
    const added = { '<cat-toy>': 49408, 'Zyx Foo': 49409 };
    const tokenizer = await ClipTokenizer.load(await variant('added', { 'added_tokens.json': added }));
    expect(tokenizer.vocabSize).toBe(49410);
    expect(texts.slice(0, 5).map((text) => tokenizer.tokenize(text))).toEqual([
      ...[
        [320, 49408, 321],
        [320, 49408, 321],
        [320, 49408],
        [49409, 267, 49409],
      ],
      [49408, 49408],
    ]);
  });

  const decoder = {
    49406: { content: '<|startoftext|>', normalized: true, special: true },
    49407: { content: '<|endoftext|>', normalized: false, special: true },
    49408: { content: '<cat-toy>', normalized: false },
    49409: { content: 'Zyx Foo', normalized: true },
    8272: { content: 'word', normalized: false, single_word: true },
    49410: { content: '<l>', normalized: false, lstrip: true, rstrip: true },
  };
  const tokens = Object.entries(decoder).map(([id, token]) => ({ id: Number(id), ...token }));
  test.each([
    ['tokenizer_config.json', { added_tokens_decoder: decoder }],
    ['tokenizer.json', { added_tokens: tokens }],
  ])('of %s', async (file, contents) => {
    const tokenizer = await ClipTokenizer.load(await variant(`decoder-${file}`, { [file]: contents }));
    expect(tokenizer.vocabSize).toBe(49411);
    expect(texts.map((text) => tokenizer.tokenize(text))).toEqual([
      ...[
        [320, 49408, 321],
        [320, 49408, 321],
        [320, 283, 2368, 268, 5988, 285],
        [49409, 267, 49409],
      ],
      ...[
        [49408, 49408],
        [11356, 8272, 2709, 2653],
        [318, 2653, 2653, 318, 272, 2653, 8272, 268, 320],
      ],
      ...[
        [320, 49410, 321],
        [320, 49406, 321],
      ],
    ]);
  });

  test.each([
    ['added_tokens.json', { 'added_tokens.json': { '<x>': -1 } }],
    [
      'tokenizer_config.json',
      { 'tokenizer_config.json': { added_tokens_decoder: { x: { content: '<x>' } } } },
    ],
    ['tokenizer.json', { 'tokenizer.json': { added_tokens: [{ id: 1, content: '' }] } }],
  ])('that are none are refused: %s', async (file, files) => {
    await expect(ClipTokenizer.load(await variant(`bad-${file}`, files))).rejects.toThrow(file);
  });
});

describe('the standard vocabulary', () => {
  test('is the published one', async () => {
    const { vocab, ranks } = await standardVocabulary();
    // Python's json.dumps of it is the published vocab.json, byte for byte.
    const text = `{${[...vocab].map(([token, id]) => `${JSON.stringify(token)}: ${id}`).join(', ')}}`;
    expect(createHash('sha256').update(text).digest('hex')).toBe(
      '3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69',
    );
    expect(text).toBe(await readFile(join(folder, 'vocab.json'), 'utf8'));
    expect([vocab.size, ranks.size]).toEqual([49408, 48894]);
  });

  test('makes the tokenizers of Stable Diffusion 1.x, and of 2.x and XL', async () => {
    const [clip, openClip] = [await standardTokenizer('clip'), await standardTokenizer('open-clip')];
    const text = 'A photo of an Octopus, 8k! 🐙';
    expect(clip.encode(text)).toEqual(tokenizer.encode(text));
    expect([...clip.encode('', { maxLength: 4 }).ids]).toEqual([START, END, END, END]);
    expect([...openClip.encode('', { maxLength: 4 }).ids]).toEqual([START, END, 0, 0]);
    expect(openClip.tokenize('wow!!!')).toEqual([2781, 0, 0, 0]);
  });
});

test('says what it did not use', () => {
  expect(tokenizer.encode('')).toMatchObject({ used: 2, cut: 0 });
  expect(tokenizer.encode('word '.repeat(75))).toMatchObject({ used: 77, cut: 0 });
  expect(tokenizer.encode('word '.repeat(80))).toMatchObject({ used: 77, cut: 5 });
  expect(tokenizer.encode('one two three', { maxLength: 4 })).toMatchObject({ used: 4, cut: 1 });
});

const million = 2 ** 20;
test.each([
  ['one letter', 'a'.repeat(million)],
  ['words', 'word '.repeat(million / 5)],
  ['parentheses', '('.repeat(million)],
  ['white space and a word', `${' \u0085'.repeat(million / 2)}x`],
  ['combining marks out of order', `a${'\u0345\u0301\u0323\u0334'.repeat(million / 4)}`],
  ['lone surrogates', '\ud800'.repeat(million)],
  ['NUL', '\0'.repeat(million)],
  ['special tokens', '<|endoftext|>'.repeat(million / 13)],
  ['emoji', '🐙'.repeat(million / 2)],
])('a megabyte of %s takes no time', (_, text) => {
  const start = performance.now();
  const { ids, used } = tokenizer.encode(text);
  // Milliseconds when linear; minutes when quadratic.
  expect(performance.now() - start).toBeLessThan(20_000);
  expect(ids.length).toBe(77);
  expect(ids[used - 1]).toBe(END);
});

test('a long text begins like a short one', () => {
  const words = Array.from({ length: 60_000 }, (_, i) => `w${i}`).join(' ');
  expect(tokenizer.encode(words).ids).toEqual(tokenizer.encode(words.slice(0, 2000)).ids);
  const letters = words.replaceAll(/\d/g, (d) => 'qwertyuiop'[Number(d)]!).replaceAll(' ', '');
  expect(tokenizer.encode(letters).ids).toEqual(tokenizer.encode(letters.slice(0, 12_000)).ids);
});

test('any text gives ids of the vocabulary', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.integer({ min: 2, max: 100 }),
      (text, maxLength) => {
        const { ids, used, cut } = tokenizer.encode(text, { maxLength });
        expect(ids.length).toBe(maxLength);
        expect(ids.every((id) => id >= 0 && id < tokenizer.vocabSize)).toBe(true);
        expect(tokenizer.tokenize(text).length).toBe(used - 2 + cut);
      },
    ),
  );
});

test('a vocabulary that has been read is known again, by its bytes', async () => {
  const vocab = JSON.parse(await readFile(join(folder, 'vocab.json'), 'utf8'));
  const other = await variant('larger', { 'vocab.json': { ...vocab, 'one more': 49408 } });
  const known = await loadTokenizerFiles(folder);
  const again = await loadTokenizerFiles(await variant('again', {}));
  expect(again.vocab).toBe(known.vocab);
  expect(again.ranks).toBe(known.ranks);
  expect((await loadTokenizerFiles(other)).vocab.get('one more')).toBe(49408);
});

describe('files that cannot be used', () => {
  test.each([
    ['no-vocab', { 'vocab.json': undefined }, /vocab\.json.*ENOENT/],
    ['no-merges', { 'merges.txt': undefined }, /merges\.txt.*ENOENT/],
    ['not-json', { 'vocab.json': '{"a": 1' }, /Expected a tokenizer's JSON in .*vocab\.json/],
    ['not-ids', { 'vocab.json': { a: -1 } }, /vocab\.json but it cannot be used: a:/],
    ['not-an-object', { 'vocab.json': [1] }, /Expected a tokenizer's JSON in .*vocab\.json/],
    ['no-special', { 'vocab.json': { a: 1 }, 'merges.txt': '' }, /bos_token "<\|startoftext\|>"/],
    ['bad-merge', { 'merges.txt': '#version: 0.2\ni n\nqq zz\n' }, /received "qq zz", in .*merges\.txt:3/],
    ['other-special', { 'special_tokens_map.json': { eos_token: '</s>' } }, /eos_token "<\/s>"/],
  ])('%s', async (name, files, message) => {
    await expect(ClipTokenizer.load(await variant(name, files))).rejects.toThrow(message);
  });
});
