import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import { CheckpointError } from '../checkpoints/error.ts';

export interface SpecialToken {
  id: number;
  content: string;
  /** Looked for after normalization (so capitals match too), not in the text as it came. */
  normalized: boolean;
}

/** A token that was added to the vocabulary: its text is looked for as it stands, before any words are. */
export interface AddedToken extends SpecialToken {
  /** Not inside of a word. */
  single_word?: boolean | undefined;
  /** With the white space before it, and after it. */
  lstrip?: boolean | undefined;
  rstrip?: boolean | undefined;
}

/** What a tokenizer folder says. */
export interface TokenizerFiles {
  vocab: Map<string, number>;
  ranks: Map<string, number>;
  special: Record<'bos' | 'eos' | 'unk' | 'pad', SpecialToken>;
  /** None of them special. */
  added?: AddedToken[];
  modelMaxLength: number;
}

const CLIP_LENGTH = 77;
const END = '<|endoftext|>';
const ROLE = /^<\|\w+\|>$/;
const DEFAULTS = { bos: '<|startoftext|>', eos: END, unk: END, pad: END };

const MAX_ID = 0x7fffffff;
const id = z.int().min(0).max(MAX_ID);
const anyObject = z.custom<Record<string, number>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);
const tokenSchema = z.union([
  z.string(),
  z.looseObject({ content: z.string(), normalized: z.boolean().default(false) }),
]);
const addedSchema = z.looseObject({
  content: z.string().min(1),
  normalized: z.boolean().optional(),
  special: z.boolean().optional(),
  single_word: z.boolean().optional(),
  lstrip: z.boolean().optional(),
  rstrip: z.boolean().optional(),
});
const addedTokensSchema = z.record(z.string().min(1), id);
const fastSchema = z.looseObject({ added_tokens: z.array(addedSchema.extend({ id })).default([]) });
const settingsSchema = z.looseObject({
  bos_token: tokenSchema.nullish(),
  eos_token: tokenSchema.nullish(),
  unk_token: tokenSchema.nullish(),
  pad_token: tokenSchema.nullish(),
  model_max_length: z.number().nullish(),
  added_tokens_decoder: z.record(z.string().regex(/^\d{1,9}$/), addedSchema).nullish(),
});

/**
 * Reads vocab.json and merges.txt, and tokenizer_config.json and special_tokens_map.json where they are (the latter
 * decides where they differ); added tokens from tokenizer_config.json, tokenizer.json and added_tokens.json.
 * @throws CheckpointError naming the file.
 */
export async function loadTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const { vocab, ranks } = await readVocabulary(folder);
  const config = await readJson(join(folder, 'tokenizer_config.json'), settingsSchema, {});
  const map = await readJson(join(folder, 'special_tokens_map.json'), settingsSchema, {});

  const added = await readAdded(folder, config.added_tokens_decoder ?? {}, vocab);
  const mentions = (['bos', 'eos', 'unk', 'pad'] as const).map((role) => {
    const token = map[`${role}_token`] ?? config[`${role}_token`] ?? DEFAULTS[role];
    if (typeof token !== 'string') return { ...token, role };
    const normalized = added.find(({ content }) => content === token)?.normalized ?? false;
    return { role, content: token, normalized };
  });
  const special = mentions.map(({ role, content }) => {
    const id = vocab.get(content);
    if (id === undefined) {
      const file = join(folder, 'vocab.json');
      throw new CheckpointError(`Expected an id for ${role}_token ${JSON.stringify(content)} in ${file}`, {
        file,
      });
    }
    // One plain mention is enough to look for it in the text as it came.
    const normalized = mentions.every((other) => other.content !== content || other.normalized);
    return [role, { id, content, normalized }] as const;
  });

  // Configs without a limit have one of 10³⁰.
  const length = config.model_max_length ?? CLIP_LENGTH;
  return {
    vocab,
    ranks,
    special: Object.fromEntries(special) as TokenizerFiles['special'],
    added: added.filter(({ content }) => mentions.every((mention) => mention.content !== content)),
    modelMaxLength: Number.isInteger(length) && length >= 2 && length <= 65_536 ? length : CLIP_LENGTH,
  };
}

/** The first that mentions a token decides; one that the vocabulary has too keeps its id there. */
async function readAdded(
  folder: string,
  decoder: Record<string, z.output<typeof addedSchema>>,
  vocab: Map<string, number>,
): Promise<AddedToken[]> {
  const fast = await readJson(join(folder, 'tokenizer.json'), fastSchema, { added_tokens: [] });
  const plain = await readJson(join(folder, 'added_tokens.json'), addedTokensSchema, {});
  const all: (z.output<typeof addedSchema> & { id: number })[] = [
    ...Object.entries(decoder).map(([id, token]) => ({ ...token, id: Number(id) })),
    ...fast.added_tokens,
    ...Object.entries(plain).map(([content, id]) => ({ content, id, normalized: !ROLE.test(content) })),
  ];
  const byContent = new Map<string, AddedToken>();
  for (const { content, id, special, normalized = !special, ...rest } of all)
    if (!byContent.has(content)) {
      const { single_word, lstrip, rstrip } = rest;
      const kept = vocab.get(content) ?? id;
      byContent.set(content, { content, id: kept, normalized, single_word, lstrip, rstrip });
    }
  return [...byContent.values()];
}

type Vocabulary = Pick<TokenizerFiles, 'vocab' | 'ranks'>;

/** By their files' bytes: nearly all models have the same one, and to parse it takes a third of a second. */
const parsed = new LRUCache<string, Vocabulary>({ max: 4 });

async function readVocabulary(folder: string): Promise<Vocabulary> {
  const files = [join(folder, 'vocab.json'), join(folder, 'merges.txt')] as const;
  const [tokens, merges] = [await readText(files[0]), await readText(files[1])];
  const key = createHash('sha256').update(tokens).update('\0').update(merges).digest('hex');
  const known = parsed.get(key);
  if (known) return known;
  const vocab = parseVocab(tokens, files[0]);
  const vocabulary = { vocab, ranks: parseMerges(merges, files[1], vocab) };
  parsed.set(key, vocabulary);
  return vocabulary;
}

function parseVocab(text: string, file: string): Map<string, number> {
  const object = parseJson(anyObject, text, file);
  const vocab = new Map(Object.entries(object));
  // A schema takes three times as long for 49,408 numbers.
  for (const [token, id] of vocab)
    if (!Number.isInteger(id) || id < 0 || id > MAX_ID)
      throw unusable(
        file,
        `${token}: Expected a whole number from 0 to ${MAX_ID} but received ${JSON.stringify(id)}`,
      );
  return vocab;
}

function parseMerges(text: string, file: string, vocab: Map<string, number>): Map<string, number> {
  const ranks = new Map<string, number>();
  const lines = text.split(/\r?\n/);
  for (const [i, line] of lines.entries()) {
    if (line === '' || line.startsWith('#version')) continue;
    const [left, right, ...rest] = line.split(' ');
    if (!left || !right || rest.length > 0 || !vocab.has(left + right)) {
      throw new CheckpointError(
        `Expected two symbols that make up a token of vocab.json but received ${JSON.stringify(line.slice(0, 80))}, in ${file}:${i + 1}`,
        { file },
      );
    }
    if (!ranks.has(line)) ranks.set(line, ranks.size);
  }
  return ranks;
}

async function readJson<T extends z.ZodType>(
  file: string,
  schema: T,
  missing?: z.output<T>,
): Promise<z.output<T>> {
  const text = await readText(file, missing !== undefined);
  return text === undefined ? missing! : parseJson(schema, text, file);
}

function parseJson<T extends z.ZodType>(schema: T, text: string, file: string): z.output<T> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const reason =
      error instanceof z.ZodError
        ? `${error.issues[0]!.path.join('.')}: ${error.issues[0]!.message}`
        : (error as Error).message;
    throw unusable(file, reason, error);
  }
}

function unusable(file: string, reason: string, cause?: unknown): CheckpointError {
  return new CheckpointError(`Expected a tokenizer's JSON in ${file} but it cannot be used: ${reason}`, {
    file,
    cause,
  });
}

async function readText(file: string): Promise<string>;
async function readText(file: string, optional: boolean): Promise<string | undefined>;
async function readText(file: string, optional = false): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (optional && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CheckpointError(`Expected a tokenizer file ${file}: ${(error as Error).message}`, {
      file,
      cause: error,
    });
  }
}
