import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
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

const id = z.int().min(0).max(0x7fffffff);
const vocabSchema = z.record(z.string(), id);
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
  const vocab = new Map(Object.entries(await readJson(join(folder, 'vocab.json'), vocabSchema)));
  const ranks = await readMerges(join(folder, 'merges.txt'), vocab);
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

async function readMerges(file: string, vocab: Map<string, number>): Promise<Map<string, number>> {
  const ranks = new Map<string, number>();
  const lines = (await readText(file)).split(/\r?\n/);
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
  if (text === undefined) return missing!;
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const reason =
      error instanceof z.ZodError
        ? `${error.issues[0]!.path.join('.')}: ${error.issues[0]!.message}`
        : (error as Error).message;
    throw new CheckpointError(`Expected a tokenizer's JSON in ${file} but it cannot be used: ${reason}`, {
      file,
      cause: error,
    });
  }
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
