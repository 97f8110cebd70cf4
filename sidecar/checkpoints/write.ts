import { open, rename, rm } from 'node:fs/promises';
import { elements } from '../graph/signature.ts';

/** A tensor to write: float32, int32 or bytes, row-major. */
export interface OutputTensor {
  shape: readonly number[];
  data: Float32Array | Int32Array | Uint8Array;
}

/**
 * Writes a safetensors file. It appears under its name only when it is whole.
 * @throws Error when a tensor's shape and data disagree, or the file cannot be written.
 */
export async function writeSafetensors(
  file: string,
  tensors: Record<string, OutputTensor> | Map<string, OutputTensor>,
  metadata?: Record<string, string>,
): Promise<void> {
  const entries = tensors instanceof Map ? [...tensors] : Object.entries(tensors);
  const header: [string, unknown][] = metadata ? [['__metadata__', metadata]] : [];
  let end = 0;
  for (const [name, { shape, data }] of entries) {
    if (elements(shape) !== data.length)
      throw new Error(`Expected ${elements(shape)} elements for ${name} but received ${data.length}`);
    header.push([
      name,
      { dtype: dtypeOf(data), shape: [...shape], data_offsets: [end, end + data.byteLength] },
    ]);
    end += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  // Padded with spaces, so that the data begin at a multiple of 8.
  const start = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  start.writeBigUInt64LE(BigInt(start.length - 8));
  json.copy(start, 8);
  const part = `${file}.${process.pid}.part`;
  try {
    const handle = await open(part, 'w');
    try {
      await handle.writeFile(start);
      for (const [, { data }] of entries)
        await handle.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    } finally {
      await handle.close();
    }
    await rename(part, file);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

function dtypeOf(data: OutputTensor['data']): string {
  if (data instanceof Float32Array) return 'F32';
  return data instanceof Int32Array ? 'I32' : 'U8';
}
