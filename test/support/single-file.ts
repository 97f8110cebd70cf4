import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type RawTensor, readRawTensors, writeTensors } from './safetensors.ts';

// Checkpoints in one file, by tables that the reference's conversion scripts made: see make_single_file_tables.py. No
// code is shared with the reader under test.

export type TableName = 'sd15' | 'sd21' | 'sdxl' | 'sdxl-refiner';

/** Key, shape, and the tensors it is made of: several are joined along their first axis, `^T` is transposed. */
type Row = [key: string, shape: number[], from: string | string[]];
type Table = Record<string, { prefix: string; tensors: Row[] }>;

/** The tensors of a published checkpoint of full size. */
export function table(name: TableName): Table {
  const file = fileURLToPath(new URL(`../fixtures/single-files/${name}.json`, import.meta.url));
  return JSON.parse(readFileSync(file, 'utf8'));
}

const weights: Record<string, string> = {
  unet: 'unet/diffusion_pytorch_model.safetensors',
  vae: 'vae/diffusion_pytorch_model.safetensors',
  text_encoder: 'text_encoder/model.safetensors',
  text_encoder_2: 'text_encoder_2/model.safetensors',
};

const oldAttention: Record<string, string> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
};

/** The tensors of a folder in diffusers layout, under the keys that the original code has for them. */
export function convertFolder(folder: string, name: TableName): Record<string, RawTensor> {
  const out: Record<string, RawTensor> = {};
  for (const [part, { prefix, tensors }] of Object.entries(table(name))) {
    const read = new Map(
      Object.entries(readRawTensors(join(folder, weights[part]!))).map(([key, tensor]) => [
        newName(key),
        tensor,
      ]),
    );
    const used = new Set<string>();
    for (const [key, shape, from] of tensors) {
      const names = [from].flat().map((each) => each.replace('^T', ''));
      const parts = names.flatMap((each) => read.get(each) ?? []);
      // Tables are of the full size; a tiny checkpoint has fewer layers.
      if (parts.length === 0) continue;
      for (const each of names) used.add(each);
      out[prefix + key] = joined(parts, { rank: shape.length, transposed: [from].flat()[0]!.endsWith('^T') });
    }
    const left = [...read.keys()].filter((key) => !used.has(key));
    if (left.length)
      throw new Error(`Expected a key for each tensor of ${part} but received none for ${left[0]}`);
  }
  return out;
}

function newName(key: string): string {
  return key
    .replace(/^text_model\./, '')
    .replace(
      /(\.attentions\.0\.)(query|key|value|proj_attn)\./,
      (_, at, old) => `${at}${oldAttention[old]}.`,
    );
}

function joined(parts: RawTensor[], { rank, transposed }: { rank: number; transposed: boolean }): RawTensor {
  const [first] = parts as [RawTensor];
  if (transposed) return transpose(first);
  const shape = [parts.reduce((sum, part) => sum + part.shape[0]!, 0), ...first.shape.slice(1)];
  // A matrix where the file has a 1×1 convolution.
  while (shape.length < rank) shape.push(1);
  return { dtype: first.dtype, shape, data: Buffer.concat(parts.map(({ data }) => data)) };
}

function transpose({ dtype, shape, data }: RawTensor): RawTensor {
  const [rows, columns] = shape as [number, number];
  const from = new Uint16Array(Uint8Array.from(data).buffer);
  const to = from.map((_, i) => from[(i % rows) * columns + Math.floor(i / rows)]!);
  return { dtype, shape: [columns, rows], data: new Uint8Array(to.buffer) };
}

/** Writes a folder of tiny-… as a checkpoint in one file. */
export function writeSingleFile(
  file: string,
  folder: string,
  name: TableName,
  edit: (tensors: Record<string, RawTensor>) => void = () => {},
): void {
  const tensors = convertFolder(folder, name);
  edit(tensors);
  writeTensors(file, tensors);
}

/** Shapes of a checkpoint of full size by key, half precision. */
export function fullShapes(name: TableName): Map<string, number[]> {
  return new Map(
    Object.values(table(name)).flatMap(({ prefix, tensors }) =>
      tensors.map(([key, shape]): [string, number[]] => [prefix + key, shape]),
    ),
  );
}

/**
 * Writes a file with tensors of these shapes, all zeros, that takes no space: its data are a hole.
 * @returns where each tensor's data begin.
 */
export function writeHollowFile(
  file: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  { dtype = 'F16', metadata }: { dtype?: string; metadata?: Record<string, string> } = {},
): Map<string, number> {
  let end = 0;
  const begins = new Map<string, number>();
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  for (const [name, shape] of shapes) {
    begins.set(name, end);
    end += shape.reduce((a, b) => a * b, 2);
    header[name] = { dtype, shape, data_offsets: [begins.get(name), end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(file, Buffer.concat([size, json]));
  truncateSync(file, 8 + json.length + end);
  return new Map([...begins].map(([name, begin]) => [name, 8 + json.length + begin]));
}

/** What a tiny checkpoint's tensors cannot say, as NAME.latent-edge.json has it: heads, sizes, the scheduler. */
export async function optionsOf(folder: string): Promise<Record<string, unknown>> {
  const json = async (path: string) =>
    JSON.parse(await readFile(join(folder, path), 'utf8').catch(() => 'null'));
  const pick = async (part: string, ...fields: string[]) => {
    const config = await json(`${part}/config.json`);
    return config && Object.fromEntries(fields.map((field) => [field, config[field]]));
  };
  const { _diffusers_version, ...scheduler } = await json('scheduler/scheduler_config.json');
  const options = {
    unet: await pick('unet', 'attention_head_dim', 'sample_size', 'addition_time_embed_dim'),
    text_encoder: await pick('text_encoder', 'num_attention_heads'),
    text_encoder_2: await pick('text_encoder_2', 'num_attention_heads'),
    scheduler,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value));
}
