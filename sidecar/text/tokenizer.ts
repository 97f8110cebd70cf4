import { type BpeModel, bpe } from './bpe.ts';
import { byteAlphabet } from './byte-alphabet.ts';
import { type AddedToken, loadTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';

/** A text as the text encoder takes it. */
export interface Encoded {
  /** [maxLength]: start, the text's tokens, end, then padding. */
  ids: Int32Array<ArrayBuffer>;
  /** Entries of `ids` that are not padding, start and end included. */
  used: number;
  /** Tokens of the text that did not fit. Of a text beyond 16,384 characters only those of that much are counted. */
  cut: number;
}

// What Unicode calls White_Space; JavaScript's \s also has U+FEFF and lacks U+0085.
const SPACE = '\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const SPACES = new RegExp(`[${SPACE}]+`, 'gu');
const WORDS = new RegExp(
  `<\\|(?:start|end)oftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^${SPACE}\\p{L}\\p{N}]+`,
  'gu',
);
/** A special token's text that is not one, as when it was written in capitals. */
const SPELLED_OUT = /^(<\|)(\w+)(\|>)$/;

/**
 * How much of a text is read, in UTF-16 units, a run of white space counting as one: many times what a text encoder
 * takes (77 of CLIP's longest tokens are 2,464 bytes). It bounds the time for hostile texts, where composing
 * combining marks is quadratic.
 */
const LONGEST = 16_384;

/**
 * CLIP's tokenizer: lower-cased byte-pair encoding of words, as transformers' `CLIPTokenizer` has it.
 * Written out here because `@huggingface/tokenizers` 0.2 lower-cases a final Σ to ς and splits at U+FEFF, which the
 * reference does not, and takes seconds for a megabyte. Source: github.com/openai/CLIP (clip/simple_tokenizer.py).
 */
export class ClipTokenizer {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  /** One more than the highest id: rows that the text encoder's token embedding needs. */
  readonly vocabSize: number;
  /** Tokens that the text encoder takes, 77 for CLIP. */
  readonly modelMaxLength: number;
  private readonly model: BpeModel;
  private readonly splitters: { raw: Splitter; normalized: Splitter };

  constructor(files: TokenizerFiles) {
    const { vocab, ranks, special, added = [], modelMaxLength } = files;
    this.bosId = special.bos.id;
    this.eosId = special.eos.id;
    this.padId = special.pad.id;
    this.vocabSize = added.reduce((size, { id }) => Math.max(size, id + 1), vocab.size);
    this.modelMaxLength = modelMaxLength;
    this.model = { vocab, ranks, unknownId: special.unk.id };
    const tokens: AddedToken[] = [...Object.values(special), ...added];
    this.splitters = {
      raw: splitter(tokens.filter((token) => !token.normalized)),
      normalized: splitter(
        tokens
          .filter((token) => token.normalized)
          .map((token) => ({ ...token, content: normalize(token.content) })),
      ),
    };
  }

  /**
   * @param folder one with vocab.json and merges.txt (tokenizer_config.json, special_tokens_map.json optional).
   * @throws CheckpointError when a file is missing or is not what it should be.
   */
  static async load(folder: string): Promise<ClipTokenizer> {
    return new ClipTokenizer(await loadTokenizerFiles(folder));
  }

  /** Start, the tokens of `text`, end, padding: `maxLength` ids. Never throws for any text. */
  encode(text: string, { maxLength = this.modelMaxLength }: { maxLength?: number } = {}): Encoded {
    const tokens = this.tokenize(text);
    const kept = tokens.slice(0, Math.max(0, maxLength - 2));
    const ids = new Int32Array(maxLength).fill(this.padId);
    ids.set([this.bosId, ...kept, this.eosId].slice(0, maxLength));
    return { ids, used: Math.min(kept.length + 2, maxLength), cut: tokens.length - kept.length };
  }

  /** The tokens of a text alone, without start and end. Special tokens spelled out in it count as such. */
  tokenize(text: string): number[] {
    const ids: number[] = [];
    for (const part of this.splitters.raw(text.replace(SPACES, ' ').slice(0, LONGEST))) {
      if (typeof part === 'number') ids.push(part);
      else for (const inner of this.splitters.normalized(normalize(part))) this.tokenizeWords(inner, ids);
    }
    return ids;
  }

  private tokenizeWords(text: string | number, ids: number[]): void {
    if (typeof text === 'number') {
      ids.push(text);
      return;
    }
    for (const [word] of text.matchAll(WORDS)) {
      const pieces = SPELLED_OUT.exec(word)?.slice(1) ?? [word];
      for (const piece of pieces) for (const id of bpe(byteSymbols(piece), this.model)) ids.push(id);
    }
  }
}

/** Canonical composition and lower case; each character by itself, so that a final Σ is σ like any other. */
function normalize(text: string): string {
  const composed = text.normalize('NFC');
  return composed.includes('Σ') ? composed.replaceAll('Σ', 'σ').toLowerCase() : composed.toLowerCase();
}

type Splitter = (text: string) => Iterable<string | number>;

/** Splits a text at special and added tokens; those come as ids. */
function splitter(tokens: AddedToken[]): Splitter {
  if (tokens.length === 0) return (text) => [text];
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  const longestFirst = [...byContent.values()].sort((a, b) => b.content.length - a.content.length);
  // A group each, so that what was found is known by its place.
  const pattern = new RegExp(longestFirst.map(patternOf).join('|'), 'gu');
  return function* (text) {
    let end = 0;
    for (const match of text.matchAll(pattern)) {
      yield text.slice(end, match.index);
      const at = match.slice(1).findIndex((group) => group !== undefined);
      yield longestFirst[at]!.id;
      end = match.index + match[0].length;
    }
    yield text.slice(end);
  };
}

function patternOf({ content, single_word, lstrip, rstrip }: AddedToken): string {
  const text = `(${escapeRegExp(content)})`;
  const word = '[\\p{L}\\p{M}\\p{N}_]';
  const whole = single_word ? `(?<!${word})${text}(?!${word})` : text;
  return `${lstrip ? `[${SPACE}]*` : ''}${whole}${rstrip ? `[${SPACE}]*` : ''}`;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

const BYTE_SYMBOLS = byteAlphabet();
const utf8 = new TextEncoder();

/** The UTF-8 bytes of a word as symbols, the last one marked; a lone surrogate is U+FFFD. */
function byteSymbols(word: string): string[] {
  const symbols = Array.from(utf8.encode(word), (byte) => BYTE_SYMBOLS[byte]!);
  symbols[symbols.length - 1] += '</w>';
  return symbols;
}
