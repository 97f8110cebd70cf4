import { readFileSync } from 'node:fs';
import { parseHeader } from '../../../sidecar/checkpoints/header.ts';

// The header of a safetensors file: read soundly, or refused in words.

const DATA_BYTES = 4096;

export function fuzz(bytes: Buffer): void {
  let tensors: ReturnType<typeof parseHeader>['tensors'];
  try {
    ({ tensors } = parseHeader(bytes, DATA_BYTES));
  } catch (error) {
    if (/^Expected /.test((error as Error).message)) return;
    throw error;
  }
  const end = 8 + bytes.length + DATA_BYTES;
  for (const { name, offset, bytes: size } of tensors)
    if (!(offset >= 8 + bytes.length && size >= 0 && offset + size <= end))
      throw new Error(`${name} lies outside the file`);
}

export function seeds(): Uint8Array[] {
  const header = (tensors: object) => Buffer.from(JSON.stringify(tensors));
  const file = readFileSync('test/fixtures/cases/unet-sd15.safetensors');
  return [
    file.subarray(8, 8 + Number(file.readBigUInt64LE(0))),
    header({ a: { dtype: 'F32', shape: [4, 256], data_offsets: [0, 4096] } }),
    header({
      __metadata__: { format: 'pt' },
      b: { dtype: 'F16', shape: [1024], data_offsets: [0, 2048] },
      c: { dtype: 'BF16', shape: [2, 512], data_offsets: [2048, 4096] },
      d: { dtype: 'U8', shape: [0], data_offsets: [4096, 4096] },
    }),
  ];
}
