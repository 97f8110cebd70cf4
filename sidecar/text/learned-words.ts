import { readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { CheckpointError } from '../checkpoints/error.ts';
import { readSafetensors, readTensors } from '../checkpoints/safetensors.ts';
import type { Segment } from './prompt.ts';

// Words whose token embeddings were learned: textual inversion, arXiv:2208.01618. A word is a safetensors file in one
// of three forms: `emb_params` [n,C]; one tensor [C] or [n,C], named by the word as diffusers saves it; `clip_l`
// [n,768] and `clip_g` [n,1280], for the two text encoders of Stable Diffusion XL.

/** A segment's text, or in place of text the learned word (a key of `LearnedWords`) that stood there. */
export type Piece = Segment & { word?: string };

/** Words in lower case, and the file that each is in. */
export type LearnedWords = ReadonlyMap<string, string>;

/** A text encoder as files name it; `clip` is the only one of its model. */
export interface EncoderWidth {
  encoder: 'clip' | 'clip_l' | 'clip_g';
  /** C. */
  width: number;
}

const EXTENSION = '.safetensors';

/** A file of learned words as listings have it. */
export interface LearnedWordFile {
  /** Its own, without extension. */
  name: string;
  file: string;
  /** The word that a file of diffusers names. */
  token: string | undefined;
  /** Token embeddings, and the length of each; of SDXL's two those of the first. */
  vectors: number;
  width: number;
  bytes: number;
  modifiedMs: number;
}

/** What files hold, by path, size and time, so that each header is read once. */
const knownHeaders = new Map<string, Pick<LearnedWordFile, 'token' | 'vectors' | 'width'>>();

/**
 * The learned words of some folders, by file name and by the word that the file itself names. The first folder counts
 * where there are several, and file names before what is in them. Links that lead out of a folder are left out, and so
 * are folders that are not there.
 */
export async function findLearnedWords(folders: readonly string[]): Promise<LearnedWords> {
  const files = await learnedWordFiles(folders);
  const words = new Map<string, string>();
  const add = (word: string | undefined, file: string) => {
    const key = word === undefined ? undefined : fold(word);
    if (key && /[\p{L}\p{N}]/u.test(key) && !words.has(key)) words.set(key, file);
  };
  for (const { name, file } of files) add(name, file);
  for (const { token, file } of files) add(token, file);
  return words;
}

/** The files of learned words in some folders, in their order. */
export async function learnedWordFiles(folders: readonly string[]): Promise<LearnedWordFile[]> {
  return (await Promise.all(folders.map(filesIn))).flat();
}

async function filesIn(folder: string): Promise<LearnedWordFile[]> {
  const home = await realpath(folder).catch(() => undefined);
  if (home === undefined) return [];
  const names = await readdir(home).catch(() => []);
  const found = await Promise.all(
    names.sort().map(async (entry) => {
      const file = join(home, entry);
      const real = await realpath(file).catch(() => '');
      if (!entry.endsWith(EXTENSION) || !real.startsWith(home + sep)) return [];
      const info = await stat(file).catch(() => undefined);
      const { size: bytes = 0, mtimeMs: modifiedMs = 0 } = info ?? {};
      const header = info?.isFile() ? await headerOf(file, bytes, modifiedMs) : NO_HEADER;
      return [{ ...header, name: entry.slice(0, -EXTENSION.length), file, bytes, modifiedMs }];
    }),
  );
  return found.flat();
}

const NO_HEADER = { token: undefined, vectors: 0, width: 0 };

/** A file that cannot be read has no word: who names it will hear why. */
async function headerOf(file: string, bytes: number, modifiedMs: number) {
  const key = `${file}\0${bytes}\0${modifiedMs}`;
  const known = knownHeaders.get(key);
  if (known) return known;
  const { tensors } = await readSafetensors(file).catch(() => ({ tensors: [] }));
  const [first, ...others] = tensors;
  const isToken = others.length === 0 && first?.name !== 'emb_params';
  const width = first?.shape.at(-1) ?? 0;
  const vectors = first ? (first.shape.length > 1 ? first.shape[0]! : 1) : 0;
  const header = { token: isToken ? first?.name : undefined, vectors, width };
  knownHeaders.set(key, header);
  return header;
}

/**
 * Finds learned words in the text of segments, whatever their case: the longest first, and only whole words.
 * @returns the segments, cut where a word stands.
 */
export function splitAtWords(segments: Segment[], words: LearnedWords): Piece[] {
  const lengths = [...new Set([...words.keys()].map((word) => word.length))].sort((a, b) => b - a);
  return segments.flatMap((segment) => {
    const { text, weight, startsChunk } = segment;
    const folded = fold(text);
    const pieces: Piece[] = [];
    let done = 0;
    for (let at = 0; at < text.length; at++) {
      if (joins(text, at)) continue;
      const length = lengths.find((n) => words.has(folded.slice(at, at + n)) && !joins(text, at + n));
      if (length === undefined) continue;
      if (at > done) pieces.push({ text: text.slice(done, at), weight });
      pieces.push({ text: '', weight, word: folded.slice(at, at + length) });
      done = at + length;
      at = done - 1;
    }
    if (done === 0) return [segment];
    if (done < text.length) pieces.push({ text: text.slice(done), weight });
    if (startsChunk) pieces[0] = { ...pieces[0]!, startsChunk };
    return pieces;
  });
}

/** Whether the characters on both sides of a place are of one word. */
function joins(text: string, at: number): boolean {
  return isWord(text[at - 1]) && isWord(text[at]);
}

function isWord(c: string | undefined): boolean {
  return c !== undefined && /[\p{L}\p{N}_]/u.test(c);
}

/** Lower case, of the same length. */
function fold(text: string): string {
  return text.replace(/\p{Lu}/gu, (c) => (c.toLowerCase().length === c.length ? c.toLowerCase() : c));
}

/**
 * Reads a learned word for a model's text encoders.
 * @param longest vectors it may have: what a chunk holds.
 * @returns for each encoder its token embeddings, [C] each, as many for one encoder as for another.
 * @throws CheckpointError naming the file, what was expected and what came.
 */
export async function readLearnedWord(
  file: string,
  encoders: readonly EncoderWidth[],
  longest: number,
): Promise<Float32Array[][]> {
  const { tensors } = await readSafetensors(file);
  const wanted = encoders.map(({ encoder, width }) => {
    const isXL = tensors.some(({ name }) => name === 'clip_g');
    const entry = tensors.find(({ name }) =>
      encoder === 'clip' ? name === 'emb_params' || (tensors.length === 1 && !isXL) : name === encoder,
    );
    const [n, C, ...more] = entry?.shape.length === 1 ? [1, entry.shape[0]] : (entry?.shape ?? []);
    if (entry && C === width && more.length === 0 && n! > 0 && n! <= longest) return entry.name;
    const name = encoder === 'clip' ? 'emb_params or a tensor named by its word' : encoder;
    throw unusable(file, `${name} [1…${longest}, ${width}]`, shapes(tensors));
  });
  const read = await readTensors(file, (name) => wanted.includes(name));
  const vectors = encoders.map(({ width }, i) => {
    const { data } = read.get(wanted[i]!)!;
    if (!(data instanceof Float32Array) || !data.every(Number.isFinite))
      throw unusable(file, `finite numbers in ${wanted[i]}`, 'others');
    return Array.from({ length: data.length / width }, (_, v) => data.subarray(v * width, (v + 1) * width));
  });
  const counts = vectors.map(({ length }) => length);
  if (new Set(counts).size > 1)
    throw unusable(file, 'as many vectors for each text encoder', counts.join(' and '));
  return vectors;
}

function shapes(tensors: { name: string; shape: number[] }[]): string {
  const shown = tensors.slice(0, 4).map(({ name, shape }) => `${name.slice(0, 80)} [${shape.join(', ')}]`);
  return shown.join(', ') + (tensors.length > 4 ? `, … (${tensors.length} tensors)` : '') || 'no tensors';
}

function unusable(file: string, expected: string, received: string): CheckpointError {
  return new CheckpointError(
    `Expected ${expected}, for the text encoder of this model, but received ${received}, in ${file}`,
    { file },
  );
}
