import { readFileSync, writeFileSync } from 'node:fs';

/** A tensor of a fixture. F16 comes as float32, I64 as int32 (token ids, timesteps). */
export interface FixtureTensor {
  dtype: string;
  shape: number[];
  data: Float32Array | Int32Array | Uint8Array;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Reads a trusted safetensors file whole: the tests' own reader, so that a fault of the project's does not hide. */
export function readTensors(file: string): Record<string, FixtureTensor> {
  const entries = Object.entries(readRawTensors(file)).map(([name, { dtype, shape, data }]) => {
    const read = { dtype, shape, data: values(dtype, Uint8Array.from(data), `${file}: ${name}`) };
    return [name, read] as const;
  });
  return Object.fromEntries(entries);
}

/** The same, as bytes. */
export function readRawTensors(file: string): Record<string, RawTensor> {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, Entry>;
  const tensors: Record<string, RawTensor> = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    const [begin, end] = data_offsets ?? [0, 0];
    if (name !== '__metadata__')
      tensors[name] = { dtype, shape, data: bytes.subarray(start + begin, start + end) };
  }
  return tensors;
}

function values(dtype: string, raw: Uint8Array<ArrayBuffer>, where: string): FixtureTensor['data'] {
  if (dtype === 'F32') return new Float32Array(raw.buffer);
  if (dtype === 'I32') return new Int32Array(raw.buffer);
  if (dtype === 'U8') return raw;
  if (dtype === 'I64') return Int32Array.from(new BigInt64Array(raw.buffer), Number);
  if (dtype === 'F16') {
    const bits = new Uint16Array(raw.buffer);
    return mapInto(new Float32Array(bits.length), bits, halfToFloat);
  }
  throw new Error(`Expected a dtype of F32, F16, I32, I64 or U8 but received ${dtype} (${where})`);
}

/** One tensor to write: `data` holds the bytes of `dtype`, row-major. */
export interface RawTensor {
  dtype: string;
  shape: number[];
  data: Uint8Array;
}

/** Writes tensors in the order given, as the reference's writer lays them out. */
export function writeTensors(
  file: string,
  tensors: Record<string, RawTensor>,
  metadata: Record<string, string> = {},
): void {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...metadata } };
  let end = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(Buffer.byteLength(json)));
  writeFileSync(file, Buffer.concat([size, Buffer.from(json), ...Object.values(tensors).map((t) => t.data)]));
}

/** What is made of each value, into a list of another type: its `from` would take fifty times as long. */
export function mapInto<T extends Uint16Array | Float32Array>(
  to: T,
  from: Uint16Array | Float32Array,
  of: (value: number) => number,
): T {
  for (let i = 0; i < from.length; i++) to[i] = of(from[i]!);
  return to;
}

/** IEEE 754 binary16 bits to the number they stand for. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** A float32 number to binary16 bits, rounded to nearest, ties to even. */
export function floatToHalf(value: number): number {
  float[0] = value;
  const bits = floatBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 255;
  const fraction = bits & 0x7fffff;
  if (exponent === 255) return sign | (fraction ? 0x7e00 : 0x7c00);
  if (exponent >= 143) return sign | 0x7c00;
  if (exponent < 102) return sign;
  // Below 2^-14 (exponent 113) halves are multiples of 2^-24: the leading one becomes part of the fraction.
  const drop = exponent < 113 ? 126 - exponent : 13;
  const whole = exponent < 113 ? fraction | 0x800000 : ((exponent - 112) << 23) | fraction;
  const kept = whole >>> drop;
  const rest = whole & ((1 << drop) - 1);
  const half = 1 << (drop - 1);
  // A carry out of the fraction is a step to the next exponent; past the last one it gives infinity.
  return sign | (kept + (rest > half || (rest === half && kept & 1) ? 1 : 0));
}
