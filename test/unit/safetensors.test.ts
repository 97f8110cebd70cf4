import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { dtypeBytes, parseHeader } from '../../sidecar/checkpoints/header.ts';
import { readSafetensors, readTensors } from '../../sidecar/checkpoints/safetensors.ts';
import { writeSafetensors } from '../../sidecar/checkpoints/write.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterAll(() => rm(dir, { recursive: true }));

const encode = (header: unknown) => Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));

function withLength(length: bigint, ...rest: Uint8Array[]): Buffer {
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length);
  return Buffer.concat([start, ...rest]);
}

/** A whole file of a header and so many bytes of data. */
const file = (header: unknown, dataBytes = 0) =>
  withLength(BigInt(encode(header).length), encode(header), Buffer.alloc(dataBytes));

const entry = (shape: unknown, begin: number, end: number, dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('bad files', () => {
  const nested = `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
  test.each<[string, Buffer, string]>([
    ['empty', Buffer.alloc(0), 'Expected at least 10 bytes but received 0'],
    ['shorter than a length', Buffer.alloc(7), 'Expected at least 10 bytes but received 7'],
    [
      'header length 0',
      withLength(0n, Buffer.alloc(100)),
      'Expected a header of at least 2 bytes but received 0',
    ],
    [
      'header length 2^63',
      withLength(2n ** 63n, Buffer.alloc(8)),
      'something else, whose header would have 9223372036854775808 bytes',
    ],
    [
      'header length 2^64-1',
      withLength(2n ** 64n - 1n, Buffer.alloc(8)),
      'something else, whose header would have 18446744073709551615 bytes',
    ],
    ['a PNG', Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'latin1'), 'received a picture'],
    [
      'header over 16 MiB',
      withLength(2n ** 24n + 1n, Buffer.alloc(8)),
      'at most 16777216 bytes, with at most 100000 tensors, but received 16777217 bytes',
    ],
    [
      '100001 tensors',
      file(Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [`t${i}`, entry([0], 0, 0)]))),
      'at most 100000 tensors',
    ],
    [
      'as many entries of metadata',
      file({ __metadata__: Object.fromEntries(Array.from({ length: 100_002 }, (_, i) => [`${i}`, ''])) }),
      'at most 100000 tensors, or entries of metadata, in a header of at most 16777216 bytes',
    ],
    ['lists without end', file(`{"a":[${'[],'.repeat(500_000)}[]]}`), 'at most 100000 tensors'],
    [
      'header beyond the file',
      withLength(1000n, encode('{}')),
      "within the file's 10 bytes but received 1000",
    ],
    ['not UTF-8', withLength(4n, Buffer.from([0x7b, 0xff, 0xfe, 0x7d])), 'Expected a header in UTF-8'],
    ['not JSON', file('{"a":}'), 'Expected a header of JSON'],
    ['not an object', file('[1,2]'), 'Expected a header that begins with { but received'],
    ['space before the header', file(' {}'), 'Expected a header that begins with {'],
    ['text after the header', file('{} x'), 'Expected a header of JSON'],
    ['a string without an end', file('{"a'), 'a string without an end'],
    ['deep JSON', file(nested), 'Expected a header nested 3 levels deep but received deeper'],
    ['deep JSON in metadata', file('{"__metadata__":{"a":{"b":{}}}}'), 'nested 3 levels deep'],
    [
      'a tensor twice',
      file(`{"a":${JSON.stringify(entry([0], 0, 0))},"a":${JSON.stringify(entry([0], 0, 0))}}`),
      '"a" twice',
    ],
    [
      'a tensor twice, escaped',
      file(`{"a":${JSON.stringify(entry([0], 0, 0))},"\\u0061" :{}}`),
      'received "a" twice',
    ],
    [
      'a field twice',
      file('{"a":{"dtype":"F32","dtype":"F16","shape":[0],"data_offsets":[0,0]}}'),
      '"dtype" twice',
    ],
    ['metadata of numbers', file({ __metadata__: { a: 1 } }), 'Expected strings in __metadata__'],
    ['an entry that is none', file({ a: 7 }), 'for tensor "a" but received 7'],
    [
      'an entry without shape',
      file({ a: { dtype: 'F32', data_offsets: [0, 0] } }),
      'Expected a shape of whole numbers',
    ],
    [
      'a field too many',
      file({ a: { ...entry([0], 0, 0), stride: 1 } }),
      'only for tensor "a" but received "stride"',
    ],
    ['unknown dtype', file({ a: entry([1], 0, 4, 'F7') }, 4), 'but received "F7"'],
    [
      'a dtype of the prototype',
      file({ a: entry([1], 0, 4, 'constructor') }, 4),
      'but received "constructor"',
    ],
    [
      'shape [2^32, 2^32]',
      file({ a: entry([2 ** 32, 2 ** 32], 0, 4) }, 4),
      'Expected 73786976294838206464 bytes',
    ],
    ['a size of 2^53', file({ a: entry([2 ** 53], 0, 4) }, 4), 'Expected a shape of whole numbers'],
    ['65 dimensions', file({ a: entry(Array(65).fill(1), 0, 4) }, 4), 'Expected a shape of whole numbers'],
    ['a negative size', file({ a: entry([-1], 0, 4) }, 4), 'Expected a shape of whole numbers'],
    ['a fractional size', file({ a: entry([0.5], 0, 2) }, 2), 'Expected a shape of whole numbers'],
    ['end < begin', file({ a: entry([1], 4, 0) }, 4), 'Expected data_offsets that end after they begin'],
    ['a negative offset', file({ a: entry([1], -4, 0) }, 4), 'Expected data_offsets of two whole numbers'],
    [
      'three offsets',
      file({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 8] } }, 4),
      'of two whole numbers',
    ],
    ['overlapping ranges', file({ a: entry([2], 0, 8), b: entry([2], 4, 12) }, 12), 'it overlaps another'],
    ['one range twice', file({ a: entry([2], 0, 8), b: entry([2], 0, 8) }, 8), 'it overlaps another'],
    ['a hole', file({ a: entry([1], 0, 4), b: entry([1], 8, 12) }, 12), 'there is a hole before it'],
    ['data before the first tensor', file({ a: entry([1], 4, 8) }, 8), 'there is a hole before it'],
    [
      'data after the last tensor',
      file({ a: entry([1], 0, 4) }, 8),
      'Expected 4 bytes of data but received 8',
    ],
    ['truncated data', file({ a: entry([4], 0, 16) }, 15), 'received 15: the file is truncated'],
    [
      'shape and bytes disagree',
      file({ a: entry([3], 0, 8) }, 8),
      'Expected 12 bytes (F32 [3]) for tensor "a" but received 8',
    ],
    [
      'a pickle',
      Buffer.from('\x80\x02}q\x00X\x05\x00\x00\x00state', 'latin1'),
      'received a pickle, which is not supported',
    ],
    [
      'a zip',
      Buffer.from('PK\x03\x04\x14\x00\x00\x00\x08\x00archive', 'latin1'),
      "received a zip: PyTorch's pickle is not supported",
    ],
    ['GGUF', Buffer.from('GGUF\x03\x00\x00\x00\x00\x00\x00', 'latin1'), 'received GGUF'],
    [
      'a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0'),
      'Fetch the file with: git lfs pull',
    ],
  ])('%s', async (_, bytes, message) => {
    const path = join(dir, 'bad.safetensors');
    await writeFile(path, bytes);
    const error = await readSafetensors(path).catch((e) => e);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toContain(message);
    expect(error.message).toContain(`, in ${path}`);
    expect(error.file).toBe(path);
  });

  test('are not parsed again while they stay as they are', async () => {
    const path = join(dir, 'refused.safetensors');
    await writeFile(path, file({ a: 7 }));
    const refusal = () => readSafetensors(path).catch((error) => error);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10_000 });
    try {
      const first = await refusal();
      expect(await refusal()).toBe(first);
      await writeFile(path, file({ a: entry([1], 0, 4) }, 4));
      expect((await refusal()).tensors).toHaveLength(1);
      await writeFile(path, file({ a: 7 }));
      expect(await refusal()).toBeInstanceOf(CheckpointError);
    } finally {
      vi.useRealTimers();
    }
  });

  test('do not hold up others for long', () => {
    const many = Array.from({ length: 99_000 }, (_, i) => [`${'x'.repeat(90)}${i}`, entry([0], 0, 0)]);
    const lists = `{"__metadata__":[${'[],'.repeat(5_000_000)}[]]}`;
    for (const [text, isBad] of [
      [JSON.stringify(Object.fromEntries(many)), false],
      [lists, true],
    ] as const) {
      const began = performance.now();
      const parse = () => parseHeader(encode(text), 0);
      if (isBad) expect(parse).toThrow('at most 100000 tensors');
      else parse();
      // Some tenths of a second; a quadratic parser takes minutes.
      expect(performance.now() - began).toBeLessThan(20_000);
    }
  });

  test('a folder, a named pipe, nothing', async () => {
    await expect(readSafetensors(dir)).rejects.toThrow(
      `Expected a file but received something else, in ${dir}`,
    );
    const pipe = join(dir, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expect(readSafetensors(pipe)).rejects.toThrow('Expected a file but received something else');
    await expect(readSafetensors(join(dir, 'none'))).rejects.toThrow('there is no such file');
  });
});

describe('sound files', () => {
  test('a header of 640 bytes is no pickle', async () => {
    const header = `${JSON.stringify({ a: entry([1], 0, 4) }).padEnd(640)}`;
    const path = join(dir, 'padded.safetensors');
    await writeFile(path, file(header, 4));
    expect((await readSafetensors(path)).tensors).toEqual([
      { name: 'a', dtype: 'F32', shape: [1], offset: 648, bytes: 4 },
    ]);
  });

  test('no tensors, scalars, tensors without elements, any names', () => {
    expect(parseHeader(encode('{}'), 0)).toEqual({ tensors: [], metadata: {} });
    const header = {
      __metadata__: { format: 'pt', nested: '{"a":[[[["' },
      scalar: entry([], 0, 4),
      empty: entry([3, 0, 2], 4, 4),
      'a":{[': entry([1], 4, 8),
      __proto__x: entry([1], 8, 12),
    };
    expect(parseHeader(encode(header), 12).tensors.map(({ name }) => name)).toEqual([
      'scalar',
      'empty',
      'a":{[',
      '__proto__x',
    ]);
    const proto = `{"__proto__":${JSON.stringify(entry([1], 0, 4))}}`;
    expect(parseHeader(encode(proto), 4).tensors[0]!.name).toBe('__proto__');
  });

  test('values of every type that has a number for them', async () => {
    const raw = Buffer.alloc(8 + 4 + 4 + 16 + 4 + 3 + 8);
    raw.writeDoubleLE(-0.1, 0);
    raw.writeUInt16LE(0x3c00, 8); // 1 in binary16
    raw.writeUInt16LE(0x8001, 10); // −2^-24
    raw.writeUInt16LE(0x3fc0, 12); // 1.5 in bfloat16
    raw.writeUInt16LE(0xff80, 14); // −∞
    raw.writeBigInt64LE(-5n, 16);
    raw.writeBigInt64LE(49407n, 24);
    raw.writeInt32LE(-7, 32);
    raw.set([0, 1, 255], 36);
    raw.writeFloatLE(0.5, 39);
    raw.writeFloatLE(Number.NaN, 43);
    const header = {
      f64: entry([1], 0, 8, 'F64'),
      f16: entry([2], 8, 12, 'F16'),
      bf16: entry([2], 12, 16, 'BF16'),
      i64: entry([2], 16, 32, 'I64'),
      i32: entry([1], 32, 36, 'I32'),
      u8: entry([3], 36, 39, 'U8'),
      f32: entry([1, 2], 39, 47),
    };
    const path = join(dir, 'types.safetensors');
    await writeFile(path, Buffer.concat([file(header), raw]));
    const values = Object.fromEntries(
      [...(await readTensors(path))].map(([name, { data }]) => [name, [...data]]),
    );
    expect(values).toEqual({
      f64: [Math.fround(-0.1)],
      f16: [1, -(2 ** -24)],
      bf16: [1.5, Number.NEGATIVE_INFINITY],
      i64: [-5, 49407],
      i32: [-7],
      u8: [0, 1, 255],
      f32: [0.5, Number.NaN],
    });
  });

  test('integers beyond 32 bits are refused', async () => {
    const data = Buffer.alloc(8);
    data.writeBigInt64LE(2n ** 31n);
    const path = join(dir, 'wide.safetensors');
    await writeFile(path, Buffer.concat([file({ a: entry([1], 0, 8, 'I64') }), data]));
    await expect(readTensors(path)).rejects.toThrow('Expected 32-bit integers in a but received 2147483648');
  });
});

describe('properties', () => {
  const shape = fc.array(fc.nat(4), { maxLength: 4 });
  const tensors = fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), shape), { maxLength: 8 }).map((list) => {
    let end = 0;
    const header: [string, unknown][] = [];
    for (const [name, sizes] of new Map(list)) {
      if (name === '__metadata__') continue;
      const bytes = 2 * sizes.reduce((a, b) => a * b, 1);
      header.push([name, entry(sizes, end, end + bytes, 'F16')]);
      end += bytes;
    }
    return { header, end };
  });

  test('what is sound is read, in any order', () => {
    fc.assert(
      fc.property(tensors, fc.func(fc.integer()), ({ header, end }, key) => {
        const shuffled = header.toSorted((a, b) => key(a[0]) - key(b[0]));
        const { tensors } = parseHeader(encode(Object.fromEntries(shuffled)), end);
        expect(tensors).toHaveLength(header.length);
        for (const { shape, bytes } of tensors) expect(bytes).toBe(2 * shape.reduce((a, b) => a * b, 1));
      }),
    );
  });

  test('what comes back lies in the file and does not overlap, whatever the header', () => {
    const size = fc.oneof(fc.nat(6), fc.constantFrom(-1, 0.5, 2 ** 32, 2 ** 53, 1e300, null, '4'));
    const loose = fc.record(
      {
        dtype: fc.constantFrom('F32', 'F16', 'U8', 'F7', 3),
        shape: fc.oneof(fc.array(size, { maxLength: 3 }), fc.constant({})),
        data_offsets: fc.oneof(fc.array(fc.nat(24), { minLength: 2, maxLength: 2 }), fc.array(size)),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.oneof(loose, fc.jsonValue())),
        fc.nat(24),
        (header, dataBytes) => {
          const json = encode(header);
          try {
            const { tensors } = parseHeader(json, dataBytes);
            let end = 8 + json.length;
            for (const { offset, bytes, dtype, shape } of tensors.toSorted(
              (a, b) => a.offset - b.offset || a.bytes - b.bytes,
            )) {
              expect(offset).toBe(end);
              expect(bytes).toBe(dtypeBytes[dtype]! * shape.reduce((a, b) => a * b, 1));
              end += bytes;
            }
            expect(end).toBe(8 + json.length + dataBytes);
          } catch (error) {
            expect((error as Error).message).toMatch(/^Expected /);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test('any bytes give a header or an error that says what was expected', () => {
    const text = fc.string({
      unit: fc.constantFrom('{', '}', '[', ']', '"', '\\', ':', ',', '1', 'a', ' ', '\n'),
    });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          text.map((t) => encode(`{${t}`)),
        ),
        (bytes) => {
          try {
            parseHeader(bytes, 0);
          } catch (error) {
            expect((error as Error).message).toMatch(/^Expected /);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('a file cut at any byte is refused', async () => {
    const path = join(dir, 'cut.safetensors');
    const whole = {
      a: { shape: [2, 3], data: new Float32Array(6) },
      b: { shape: [5], data: new Uint8Array(5) },
    };
    await writeSafetensors(path, whole);
    const { length } = await readFile(path);
    for (let size = length - 1; size >= 0; size--) {
      await truncate(path, size);
      await expect(readSafetensors(path)).rejects.toBeInstanceOf(CheckpointError);
    }
  });
});

describe('writing', () => {
  test('what is written is read back', async () => {
    const path = join(dir, 'written.safetensors');
    const tensors = new Map([
      ['latents', { shape: [1, 2, 2], data: Float32Array.of(1, -0, 3.5, Number.NaN) }],
      ['ids', { shape: [2], data: Int32Array.of(-1, 49407) }],
      ['images', { shape: [3], data: Uint8Array.of(0, 128, 255) }],
    ]);
    await writeSafetensors(path, tensors, { model: 'a' });
    const { metadata, tensors: entries } = await readSafetensors(path);
    expect(metadata).toEqual({ model: 'a' });
    expect(entries.map(({ dtype }) => dtype)).toEqual(['F32', 'I32', 'U8']);
    expect(entries[0]!.offset % 8).toBe(0);
    const read = await readTensors(path);
    for (const [name, { shape, data }] of tensors)
      expect(read.get(name)).toEqual({
        shape,
        data: data instanceof Uint8Array ? Int32Array.from(data) : data,
      });
  });

  test('a shape that does not fit, a folder that is not there: no file is left', async () => {
    const bad = { a: { shape: [3], data: new Float32Array(2) } };
    await expect(writeSafetensors(join(dir, 'bad'), bad)).rejects.toThrow(
      'Expected 3 elements for a but received 2',
    );
    const good = { a: { shape: [2], data: new Float32Array(2) } };
    await expect(writeSafetensors(join(dir, 'none', 'x'), good)).rejects.toThrow('ENOENT');
    expect((await readdir(dir)).filter((name) => name.endsWith('.part'))).toEqual([]);
  });
});
