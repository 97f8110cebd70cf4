import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { byteAlphabet } from './byte-alphabet.ts';
import { ClipTokenizer } from './tokenizer.ts';
import type { SpecialToken, TokenizerFiles } from './tokenizer-files.ts';

/** Whose settings: OpenAI's CLIP pads with the end of text, OpenCLIP (Stable Diffusion 2.x and XL) with `!`. */
export type StandardTokenizer = 'clip' | 'open-clip';

type Vocabulary = Pick<TokenizerFiles, 'vocab' | 'ranks'>;

const START = '<|startoftext|>';
const END = '<|endoftext|>';

let read: Promise<Vocabulary> | undefined;

/**
 * The tokenizer that Stable Diffusion 1.x, 2.x and XL were trained with, for checkpoints that carry none.
 * @throws Error when models/clip-vocabulary is not there.
 */
export async function standardTokenizer(kind: StandardTokenizer): Promise<ClipTokenizer> {
  read ??= standardVocabulary();
  const { vocab, ranks } = await read;
  const token = (content: string, normalized: boolean): SpecialToken => ({
    id: vocab.get(content)!,
    content,
    normalized,
  });
  // As the published folders have it, where CLIP's end of text is plain in its role as padding.
  const plain = kind === 'clip';
  const end = token(END, !plain);
  const pad = plain ? end : token('!', false);
  const special = { bos: token(START, true), eos: end, unk: end, pad };
  return new ClipTokenizer({ vocab, ranks, special, modelMaxLength: 77 });
}

/** CLIP's 49,408 tokens and its merges, from models/clip-vocabulary. */
export async function standardVocabulary(): Promise<Vocabulary> {
  const lines = (await readFile(mergesFile(), 'utf8')).split('\n');
  const merges = lines.filter((line) => line !== '' && !line.startsWith('#version'));
  // The stand-ins in the order of their own codes.
  const bytes = byteAlphabet().sort();
  const tokens = [
    ...bytes,
    ...bytes.map((symbol) => `${symbol}</w>`),
    ...merges.map((merge) => merge.replace(' ', '')),
    START,
    END,
  ];
  return {
    vocab: new Map(tokens.map((token, id) => [token, id])),
    ranks: new Map(merges.map((merge, rank) => [merge, rank])),
  };
}

// From sources (sidecar/text) and from the build (dist/sidecar/text).
function mergesFile(): string {
  const paths = ['../..', '../../..'].map((up) =>
    fileURLToPath(new URL(`${up}/models/clip-vocabulary/merges.txt`, import.meta.url)),
  );
  return paths.find((path) => existsSync(path)) ?? paths[0]!;
}
