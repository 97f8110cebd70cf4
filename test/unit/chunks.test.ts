import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Chunk, chunkPrompt, MAX_CHUNKS, padChunks } from '../../sidecar/text/chunks.ts';
import { emphasize } from '../../sidecar/text/emphasis.ts';
import type { Piece } from '../../sidecar/text/learned-words.ts';
import { parsePrompt } from '../../sidecar/text/prompt.ts';
import { ClipTokenizer } from '../../sidecar/text/tokenizer.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

const [COMMA, WORD, START, END, VOCABULARY] = [267, 2653, 49406, 49407, 49408];
const SHAPE = { maxLength: 77, vocabSize: VOCABULARY };

const tokenizers: Record<string, ClipTokenizer> = {};
let tokenizer: ClipTokenizer;
beforeAll(async () => {
  for (const model of ['tiny-sd15', 'tiny-sd21-v'])
    tokenizers[model] = await ClipTokenizer.load(`${await fixtureModel(model)}/tokenizer`);
  tokenizer = tokenizers['tiny-sd15']!;
});

const chunksOf = (prompt: string) => chunkPrompt(parsePrompt(prompt), tokenizer, SHAPE);
const words = (n: number) => 'word '.repeat(n);
/** Tokens of each chunk, without start, end and padding. */
const lengths = ({ chunks }: { chunks: Chunk[] }) => chunks.map(({ used }) => used - 2);

describe('prompt-weights: ids and weights of the reference', () => {
  const { params, tensors } = fixtureCase('prompt-weights');
  test.each((params.prompts as { model: string; prompt: string }[]).map((p, i) => ({ ...p, i })))(
    '$i: $prompt',
    ({ model, prompt, i }) => {
      const { chunks, cut } = chunkPrompt(parsePrompt(prompt), tokenizers[model]!, SHAPE);
      expect(chunks.flatMap(({ ids }) => [...ids])).toEqual([...tensors[`out.${i}.input_ids`]!.data]);
      expect(chunks.flatMap(({ weights }) => [...weights])).toEqual([...tensors[`out.${i}.weights`]!.data]);
      expect(cut).toBe(0);
    },
  );
});

describe('where a prompt is cut', () => {
  test.each([
    ['', [0]],
    [words(75), [75]],
    [words(76), [75, 1]],
    [words(150), [75, 75]],
    [`${words(60)}, ${words(30)}`, [61, 30]],
    // 20 tokens before the end of the chunk is the furthest.
    [`${words(55)}, ${words(30)}`, [56, 30]],
    [`${words(54)}, ${words(30)}`, [75, 10]],
    [`${words(75)}, ${words(2)}`, [75, 3]],
    [`${words(60)}, ${words(13)}, ${words(5)}`, [75, 5]],
    [`${words(3)} BREAK ${words(4)}`, [3, 4]],
    [`BREAK ${words(4)}`, [0, 4]],
    [`${words(4)} BREAK`, [4]],
    [`${words(75)} BREAK ${words(1)}`, [75, 1]],
    ['BREAK BREAK a', [0, 0, 1]],
  ])('%#', (prompt, expected) => {
    expect(lengths(chunksOf(prompt))).toEqual(expected);
  });

  test('the comma stays behind', () => {
    const { chunks } = chunksOf(`${words(70)}, ${words(6)}`);
    expect([...chunks[0]!.ids.slice(69, 74)]).toEqual([WORD, WORD, COMMA, END, END]);
    expect([...chunks[1]!.ids.slice(0, 8)]).toEqual([START, WORD, WORD, WORD, WORD, WORD, WORD, END]);
  });

  test('what is beyond the last chunk is counted', () => {
    const { chunks, cut } = chunksOf(words(75 * MAX_CHUNKS + 7));
    expect([chunks.length, cut]).toEqual([MAX_CHUNKS, 7]);
  });

  test('all of 64 K characters are read, also of one word', () => {
    const count = ({ chunks, cut }: ReturnType<typeof chunksOf>) =>
      chunks.reduce((sum, { used }) => sum + used - 2, cut);
    expect(count(chunksOf(words(13_107)))).toBe(13_107);
    expect(count(chunksOf('🐙'.repeat(32_768)))).toBeGreaterThan(10_000);
    expect(count(chunksOf(`${'a'.repeat(60_000)} ${words(100)}`))).toBeGreaterThan(100);
  });
});

describe('learned words', () => {
  const vectors = new Map([['toy', [1, 2, 3].map((n) => new Float32Array(4).fill(n))]]);
  const pieces = (...parts: (string | [string])[]): Piece[] =>
    parts.map((part) =>
      typeof part === 'string' ? { text: part, weight: 1 } : { text: '', weight: 2, word: part[0] },
    );

  test('have ids beyond the vocabulary, and a weight for each vector', () => {
    const [chunk] = chunkPrompt(pieces('word', ['toy'], 'word', ['toy']), tokenizer, {
      ...SHAPE,
      vectors,
    }).chunks;
    const learned = [0, 1, 2, 3, 4, 5].map((i) => VOCABULARY + i);
    expect([...chunk!.ids.slice(0, 10)]).toEqual([
      ...[START, WORD, ...learned.slice(0, 3), WORD, ...learned.slice(3), END],
    ]);
    expect([...chunk!.weights.slice(0, 10)]).toEqual([1, 1, 2, 2, 2, 1, 2, 2, 2, 1]);
    expect(chunk!.vectors.map((vector) => vector[0])).toEqual([1, 2, 3, 1, 2, 3]);
  });

  test('are not cut', () => {
    const { chunks } = chunkPrompt(pieces(words(73), ['toy'], 'word'), tokenizer, { ...SHAPE, vectors });
    expect(lengths({ chunks })).toEqual([73, 4]);
    expect(chunks.map((chunk) => chunk.vectors.length)).toEqual([0, 3]);
    expect([...chunks[1]!.ids.slice(0, 5)]).toEqual([
      START,
      VOCABULARY,
      VOCABULARY + 1,
      VOCABULARY + 2,
      WORD,
    ]);
  });
});

test('chunks of nothing are added up to a count', () => {
  const { chunks } = chunksOf('word');
  const padded = padChunks(chunks, 3, tokenizer);
  expect(padded[0]).toBe(chunks[0]);
  expect(padded.slice(1).map(({ ids }) => [...ids])).toEqual([1, 2].map(() => [...tokenizer.encode('').ids]));
  expect(padChunks(chunks, 1, tokenizer)).toEqual(chunks);
});

test('a prompt without syntax that fits has the ids of the tokenizer', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      const plain = text.replace(/[()[\]\\]|BREAK/g, '');
      const whole = tokenizer.encode(plain);
      fc.pre(whole.cut === 0);
      const { chunks } = chunksOf(plain);
      expect(chunks).toEqual([
        { ids: whole.ids, used: whole.used, weights: new Float32Array(77).fill(1), vectors: [] },
      ]);
    }),
  );
});

test('no token is lost, whatever the prompt', () => {
  const part = fc.constantFrom('word ', ', ', '(a:1.2) ', '[b, c] ', 'BREAK ', `${words(30)}`, '((');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
      const segments = parsePrompt(parts.join(''));
      const { chunks, cut } = chunkPrompt(segments, tokenizer, SHAPE);
      const ids = chunks.flatMap((chunk) => [...chunk.ids.slice(1, chunk.used - 1)]);
      expect(cut).toBe(0);
      expect(ids).toEqual(segments.flatMap(({ text }) => tokenizer.tokenize(text)));
    }),
    { numRuns: 50 },
  );
});

describe('emphasis', () => {
  const encoding = Float32Array.of(1, 2, 3, 4, 5, 7);

  test('multiplies tokens and brings the mean back', () => {
    const weighted = emphasize(encoding, Float32Array.of(1, 2, 0));
    const ratio = 22 / (1 + 2 + 6 + 8);
    const expected = [1, 2, 6, 8, 0, 0].map((value) => value * ratio);
    for (const [i, value] of weighted.entries()) expect(value).toBeCloseTo(expected[i]!, 5);
  });

  test('leaves an encoding as it is where all weights are 1', () => {
    expect(emphasize(encoding, Float32Array.of(1, 1, 1))).toBe(encoding);
  });

  test('of nothing but zeros is zeros', () => {
    expect([...emphasize(encoding, new Float32Array(3))]).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
