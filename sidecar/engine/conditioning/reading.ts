import { type Chunk, chunkPrompt, padChunks } from '../../text/chunks.ts';
import {
  type EncoderWidth,
  type LearnedWords,
  type Piece,
  readLearnedWord,
  splitAtWords,
} from '../../text/learned-words.ts';
import { parsePrompt } from '../../text/prompt.ts';
import type { Model } from '../model.ts';
import type { TextEncoder } from '../text-encoder.ts';

/** How a prompt is read: with weights, chunks and learned words; or as plain text, cut at a single chunk. */
export type PromptSyntax = 'weighted' | 'plain';

/** A text as a model's text encoders take it. */
export interface Reading {
  /** Of each text encoder; as many for one as for another. */
  chunks: Chunk[][];
  /** Tokens without padding. */
  used: number;
  /** Tokens that did not fit. */
  cut: number;
}

export interface ReadingOptions {
  promptSyntax: PromptSyntax;
  /** Those that a prompt can name. */
  learnedWords?: LearnedWords;
}

/**
 * Reads a request's texts, all of them to the same number of chunks.
 * @throws CheckpointError for a learned word that does not fit the model.
 */
export async function readTexts(
  model: Model,
  texts: string[],
  { promptSyntax, learnedWords = new Map() }: ReadingOptions,
): Promise<Reading[]> {
  if (promptSyntax === 'plain') return texts.map((text) => readPlain(model.textEncoders, text));
  const prompts = texts.map((text) => splitAtWords(parsePrompt(text), learnedWords));
  const vectors = await vectorsOf(model, prompts.flat(), learnedWords);
  const readings = prompts.map((pieces) => readPieces(model.textEncoders, pieces, vectors));
  const count = Math.max(...readings.flatMap(({ chunks }) => chunks.map(({ length }) => length)));
  return readings.map((reading) => ({
    ...reading,
    chunks: reading.chunks.map((chunks, i) => padChunks(chunks, count, model.textEncoders[i]!.tokenizer)),
  }));
}

function readPlain(encoders: TextEncoder[], text: string): Reading {
  const rows = encoders.map((encoder) => encoder.tokenize(text));
  const { used, cut } = rows.at(-1)!;
  const plain = ({ ids, used }: { ids: Chunk['ids']; used: number }): Chunk => ({
    ids,
    weights: new Float32Array(ids.length).fill(1),
    used,
    vectors: [],
  });
  return { chunks: rows.map((row) => [plain(row)]), used, cut };
}

/** Token embeddings of learned words, for each text encoder. */
type Vectors = Map<string, Float32Array[]>[];

function readPieces(encoders: TextEncoder[], pieces: Piece[], vectors: Vectors): Reading {
  const read = encoders.map(({ tokenizer, maxLength, config }, i) =>
    chunkPrompt(pieces, tokenizer, { maxLength, vocabSize: config.vocab_size, vectors: vectors[i] }),
  );
  const { chunks, cut } = read.at(-1)!;
  const used = chunks.reduce((sum, chunk) => sum + chunk.used, 0);
  return { chunks: read.map((chunked) => chunked.chunks), used, cut };
}

async function vectorsOf(model: Model, pieces: Piece[], words: LearnedWords): Promise<Vectors> {
  const { textEncoders } = model;
  const names =
    model.checkpoint.kind === 'text-to-image-xl' ? (['clip_l', 'clip_g'] as const) : ['clip' as const];
  const widths = textEncoders.map(
    ({ config }, i): EncoderWidth => ({
      encoder: names.at(i - textEncoders.length)!,
      width: config.hidden_size,
    }),
  );
  const longest = Math.min(...textEncoders.map(({ maxLength }) => maxLength)) - 2;
  const vectors: Vectors = textEncoders.map(() => new Map());
  for (const word of new Set(pieces.flatMap((piece) => piece.word ?? []))) {
    const read = await readLearnedWord(words.get(word)!, widths, longest);
    for (const [i, known] of vectors.entries()) known.set(word, read[i]!);
  }
  return vectors;
}
