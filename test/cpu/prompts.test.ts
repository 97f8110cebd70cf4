import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readTensors } from '../../sidecar/checkpoints/safetensors.ts';
import { writeSafetensors } from '../../sidecar/checkpoints/write.ts';
import { readTexts } from '../../sidecar/engine/conditioning/reading.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { Model } from '../../sidecar/engine/model.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { emphasize } from '../../sidecar/text/emphasis.ts';
import { findLearnedWords } from '../../sidecar/text/learned-words.ts';
import { ClipTokenizer } from '../../sidecar/text/tokenizer.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

// Weights, chunks and learned words, from a prompt to the text encoding and to the picture.

const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));
const EMBEDDED = fileURLToPath(new URL('../../models/tiny-emoji-ldm', import.meta.url));

let device: NativeDevice;
let folder: string;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', poison: true });
  folder = await mkdtemp(join(tmpdir(), 'prompts-'));
});
afterAll(async () => {
  await device.dispose();
  await rm(folder, { recursive: true });
});

async function withModel<T>(name: string, use: (model: Model) => Promise<T>): Promise<T> {
  const model = await Model.load({ name, dir: await fixtureModel(name) }, device);
  try {
    return await use(model);
  } finally {
    await model.dispose();
  }
}

async function withEngine<T>(roots: string[], use: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.open({ folders: new ModelFolders(roots) });
  try {
    return await use(engine);
  } finally {
    await engine.dispose();
  }
}

describe('prompt-weights: text encodings of the reference', () => {
  const { params, tensors } = fixtureCase('prompt-weights');
  const prompts = params.prompts as { model: string; clip_skip: number; prompt: string }[];
  test.each(['tiny-sd15', 'tiny-sd21-v'])('%s', (name) =>
    withModel(name, async (model) => {
      for (const [i, { model, clip_skip, prompt }] of prompts.entries()) {
        if (model !== name) continue;
        const expected = tensors[`out.${i}.encoding`]!.data;
        expect(relativeL2(await encode(prompt, clip_skip), expected), prompt).toBeLessThanOrEqual(1e-5);
      }

      async function encode(prompt: string, clipSkip: number): Promise<number[]> {
        const [reading] = await readTexts(model, [prompt], { promptSyntax: 'weighted' });
        const encoded = [];
        for (const chunk of reading!.chunks[0]!) {
          const states = await model.textEncoders[0]!.lastHiddenState(chunk, clipSkip, (work) => work());
          encoded.push(...emphasize(states, chunk.weights));
        }
        return encoded;
      }
    }),
  );
});

test('textual-inversion-sdxl: two text encoders, side by side, and the summary', () =>
  withModel('tiny-sdxl', async (model) => {
    const { params, tensors } = fixtureCase('textual-inversion-sdxl');
    const learnedWords = await findLearnedWords([join(FIXTURES, 'embeddings')]);
    const [reading] = await readTexts(model, [params.prompt], { promptSyntax: 'weighted', learnedWords });
    const encoded: { states: Float32Array; pooled?: Float32Array }[] = [];
    for (const [i, encoder] of model.textEncoders.entries())
      encoded.push(await encoder.penultimate(reading!.chunks[i]![0]!, 0, (work) => work()));
    const rows = Array.from({ length: 77 }, (_, t) =>
      encoded.flatMap(({ states }) => [...states.subarray(32 * t, 32 * (t + 1))]),
    );
    expect(relativeL2(rows.flat(), tensors['out.encoding']!.data)).toBeLessThanOrEqual(1e-5);
    expect(relativeL2(encoded[1]!.pooled!, tensors['out.pooled']!.data)).toBeLessThanOrEqual(1e-5);
  }));

describe.each(['pipeline-sd15-prompt-weights', 'pipeline-sd15-textual-inversion'])('%s', (name) => {
  test('latents and pixels', async () => {
    const { params: p, tensors } = fixtureCase(name);
    // Its learned words lie in a root of their own.
    await withEngine([await fixtureModel('tiny-sd15'), FIXTURES], async (engine) => {
      const { images } = await engine.generate({
        prompt: p.prompt,
        negativePrompt: p.negative_prompt,
        steps: p.num_inference_steps,
        guidanceScale: p.guidance_scale,
        width: p.width,
        height: p.height,
        sampler: 'euler',
        seeds: [p.seed],
        returnLatents: true,
      });
      const [{ file: png, latents }] = images as [(typeof images)[0]];
      expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
      const rgb = await sharp(png).raw().toBuffer();
      expect(shareBeyondOneLevel(rgb, tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    });
  });
});

describe('the embedded model', () => {
  const asked = { seeds: [3], steps: 2, returnLatents: true };
  const make = async (engine: Engine, request: Record<string, unknown>) => {
    const { images, effective, textTokens } = await engine.generate({ ...asked, ...request });
    return { latents: [...images[0]!.latents!.data], effective, textTokens };
  };

  test('a prompt without syntax is the same either way, and brackets are text in one of them', () =>
    withEngine([EMBEDDED], async (engine) => {
      const weighted = await make(engine, { prompt: 'red apple' });
      const plain = await make(engine, { prompt: 'red apple', promptSyntax: 'plain' });
      expect(plain.latents).toEqual(weighted.latents);
      expect([weighted, plain].map(({ effective }) => effective.promptSyntax)).toEqual(['weighted', 'plain']);
      const brackets = await make(engine, { prompt: '(red) apple', promptSyntax: 'plain' });
      const escaped = await make(engine, { prompt: '\\(red\\) apple' });
      expect(brackets.latents).toEqual(escaped.latents);
      expect(brackets.latents).not.toEqual(weighted.latents);
      expect((await make(engine, { prompt: '(red) apple' })).latents).not.toEqual(weighted.latents);
      expect((await make(engine, { prompt: 'red (apple:1.0)' })).latents).toEqual(weighted.latents);
    }));

  test('a long prompt is read whole, or cut and reported', () =>
    withEngine([EMBEDDED], async (engine) => {
      const prompt = 'red apple, '.repeat(40);
      const weighted = await make(engine, { prompt, negativePrompt: 'blue' });
      const plain = await make(engine, { prompt, negativePrompt: 'blue', promptSyntax: 'plain' });
      expect(weighted.effective.ignored).toEqual([]);
      expect(plain.effective.ignored[0]).toMatch(/^prompt: its last \d+ tokens do not fit$/);
      expect(plain.textTokens).toBeLessThan(weighted.textTokens);
      expect(weighted.latents).not.toEqual(plain.latents);
      const endless = await make(engine, { prompt: 'red apple, '.repeat(3000), guidanceScale: 1, steps: 1 });
      expect(endless.effective.ignored[0]).toMatch(/^prompt: its last \d+ tokens do not fit$/);
    }));

  test.each(['((((', '(a:', '[', ')', '(a:1e38)', '(a:-9)', '(a:0)', 'BREAK', 'BREAK BREAK', ':', '\\'])(
    '%j is a picture',
    (prompt) =>
      withEngine([EMBEDDED], async (engine) => {
        const { latents } = await make(engine, { prompt, negativePrompt: prompt, steps: 1 });
        expect(latents.every(Number.isFinite)).toBe(true);
      }),
  );

  test('a learned word of vectors that it knows already is what they say', async () => {
    await mkdir(join(folder, 'embeddings'));
    await writeSafetensors(join(folder, 'embeddings', 'my-fruit.safetensors'), {
      emb_params: await embeddingsOf('red apple'),
    });
    await withEngine([EMBEDDED, folder], async (engine) => {
      const known = await make(engine, { prompt: 'a red apple, big', negativePrompt: 'red apple' });
      const learned = await make(engine, { prompt: 'a My-Fruit, big', negativePrompt: 'my-fruit' });
      expect(learned.latents).toEqual(known.latents);
      expect(learned.textTokens).toBe(known.textTokens);
      const plain = await make(engine, { prompt: 'a my-fruit, big', promptSyntax: 'plain' });
      expect(plain.latents).not.toEqual(known.latents);
    });
  });

  test('a learned word of another width', () =>
    withEngine([EMBEDDED, FIXTURES], async (engine) => {
      const asking = make(engine, { prompt: 'a sketchy house' });
      await expect(asking).rejects.toThrow(
        /Expected .*\[1…75, 192\].*received emb_params \[2, 32\].*sketchy\.safe/,
      );
      await make(engine, { prompt: 'a house', steps: 1 });
    }));

  /** Rows of its token embedding, [n,C]. */
  async function embeddingsOf(text: string) {
    const tokenizer = await ClipTokenizer.load(join(EMBEDDED, 'tokenizer'));
    const file = join(EMBEDDED, 'text_encoder', 'model.safetensors');
    const tensors = await readTensors(file, (name) => name.endsWith('token_embedding.weight'));
    const [{ shape, data }] = [...tensors.values()] as [{ shape: number[]; data: Float32Array }];
    const C = shape[1]!;
    const ids = tokenizer.tokenize(text);
    return {
      shape: [ids.length, C],
      data: Float32Array.from(ids.flatMap((id) => [...data.subarray(id * C, (id + 1) * C)])),
    };
  }
});

test('a text that comes again is not encoded again, whatever its weights', () =>
  withModel('tiny-sd15', async (model) => {
    const encoder = model.textEncoders[0]!;
    const learnedWords = await findLearnedWords([join(FIXTURES, 'embeddings')]);
    const [word] = [...learnedWords.keys()];
    let runs = 0;
    const encode = async (prompt: string, clipSkip = 0) => {
      const [reading] = await readTexts(model, [prompt], { promptSyntax: 'weighted', learnedWords });
      const before = runs;
      const states = await encoder.lastHiddenState(reading!.chunks[0]![0]!, clipSkip, (work) => {
        runs++;
        return work();
      });
      return { states: [...states], isNew: runs > before };
    };
    const first = await encode('a boat');
    expect(first.isNew).toBe(true);
    expect(await encode('a (boat:1.3)')).toEqual({ states: first.states, isNew: false });
    expect((await encode('a boat', 1)).isNew).toBe(true);
    expect((await encode('a ship')).isNew).toBe(true);
    expect((await encode(`a ${word}`)).isNew).toBe(true);
    expect((await encode(`a ${word}`)).isNew).toBe(true);
    for (let i = 0; i < 31; i++) await encode(`boat ${i}`);
    expect(await encode('a boat')).toEqual({ states: first.states, isNew: true });
  }));
