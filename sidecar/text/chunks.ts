import type { Piece } from './learned-words.ts';
import type { ClipTokenizer } from './tokenizer.ts';

/** A part of a prompt that fills a text encoder's input: T tokens, 77 of CLIP. */
export interface Chunk {
  /** [T]: start, up to T−2 tokens, end, padding. Ids from `vocabSize` on stand for `vectors`. */
  ids: Int32Array<ArrayBuffer>;
  /** [T]: how much each token counts; 1 for start, end and padding. */
  weights: Float32Array<ArrayBuffer>;
  /** Entries of `ids` that are not padding. */
  used: number;
  /** Token embeddings [C] of learned words: the i-th is that of id `vocabSize` + i. */
  vectors: Float32Array[];
}

export interface Chunked {
  /** One or more. */
  chunks: Chunk[];
  /** Tokens beyond the last of `MAX_CHUNKS`. */
  cut: number;
}

export interface ChunkOptions {
  /** T. */
  maxLength: number;
  /** Rows of the text encoder's token embedding. */
  vocabSize: number;
  /** Token embeddings [C] of each learned word that the pieces name. */
  vectors?: ReadonlyMap<string, Float32Array[]>;
}

/** Chunks of one prompt: 2,400 tokens. What the U-Net attends to, and is compiled for, grows with each. */
export const MAX_CHUNKS = 32;

/** Text after a comma moves to the next chunk when it is cut within this many tokens. */
const COMMA_REACH = 20;

/** The tokenizer reads this much of a text at once. */
const LONGEST = 16_384;

interface Entry {
  id: number;
  weight: number;
  vector?: Float32Array;
}

/**
 * Splits a prompt into chunks, as AUTOMATIC1111's web UI does: wherever one is full, but rather after a comma among
 * its last 20 tokens; at each BREAK; and never inside of a learned word. A prompt that fits is one chunk, with the ids
 * of `tokenizer.encode`.
 */
export function chunkPrompt(pieces: Piece[], tokenizer: ClipTokenizer, options: ChunkOptions): Chunked {
  const size = options.maxLength - 2;
  const [comma, ...more] = tokenizer.tokenize(',');
  const isComma = (id: number) => id === comma && more.length === 0;
  const all: Entry[][] = [];
  let open: Entry[] = [];
  const close = (at = open.length) => {
    all.push(open.slice(0, at));
    open = open.slice(at);
  };

  for (const piece of pieces) {
    if (piece.startsChunk) close();
    for (const unit of units(piece, tokenizer, options)) {
      if (open.length === size && !isComma(unit[0]!.id)) close(afterComma(open, isComma));
      if (open.length + unit.length > size) close();
      open.push(...unit);
    }
  }
  if (open.length > 0 || all.length === 0) close();

  const tokens = (chunks: Entry[][]) => chunks.reduce((sum, entries) => sum + entries.length, 0);
  return {
    chunks: all.slice(0, MAX_CHUNKS).map((entries) => toChunk(entries, tokenizer, options)),
    cut: tokens(all.slice(MAX_CHUNKS)),
  };
}

/** Chunks of nothing, for a prompt that is encoded beside a longer one. */
export function padChunks(chunks: Chunk[], count: number, tokenizer: ClipTokenizer): Chunk[] {
  const { length } = chunks[0]!.ids;
  const options = { maxLength: length, vocabSize: 0 };
  const missing = Math.max(0, count - chunks.length);
  return [...chunks, ...Array.from({ length: missing }, () => toChunk([], tokenizer, options))];
}

/** What stays together: single tokens, and all of a learned word. */
function* units(piece: Piece, tokenizer: ClipTokenizer, { vocabSize, vectors }: ChunkOptions) {
  const { word, weight } = piece;
  if (word !== undefined) yield vectors!.get(word)!.map((vector) => ({ id: vocabSize, weight, vector }));
  else
    for (const text of spans(piece.text)) for (const id of tokenizer.tokenize(text)) yield [{ id, weight }];
}

/** A text in parts that the tokenizer reads whole, cut at white space where there is any. */
function* spans(text: string): Iterable<string> {
  for (let rest = text; rest !== ''; ) {
    const space = rest.length > LONGEST ? rest.slice(0, LONGEST).search(/\s\S*$/) : -1;
    // Not between the halves of a surrogate pair.
    const most = /[\ud800-\udbff]/.test(rest[LONGEST - 1] ?? '') ? LONGEST - 1 : LONGEST;
    const part = rest.slice(0, space > 0 ? space : most);
    yield part;
    rest = rest.slice(part.length);
  }
}

/** Where a full chunk is best cut. */
function afterComma(entries: Entry[], isComma: (id: number) => boolean): number {
  const at = entries.findLastIndex(({ id }) => isComma(id));
  return at >= 0 && entries.length - at <= COMMA_REACH ? at + 1 : entries.length;
}

function toChunk(entries: Entry[], tokenizer: ClipTokenizer, { maxLength, vocabSize }: ChunkOptions): Chunk {
  const ids = new Int32Array(maxLength).fill(tokenizer.padId);
  const weights = new Float32Array(maxLength).fill(1);
  const vectors: Float32Array[] = [];
  ids[0] = tokenizer.bosId;
  for (const [i, { id, weight, vector }] of entries.entries()) {
    ids[i + 1] = vector ? vocabSize + vectors.length : id;
    weights[i + 1] = weight;
    if (vector) vectors.push(vector);
  }
  ids[entries.length + 1] = tokenizer.eosId;
  return { ids, weights, used: entries.length + 2, vectors };
}
