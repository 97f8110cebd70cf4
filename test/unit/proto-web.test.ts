import { type DescField, type DescMessage, fromBinary, ScalarType, toBinary } from '@bufbuild/protobuf';
import type { ServiceDefinition } from '@grpc/proto-loader';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diffusion } from '../../proto/index.ts';
import { diffusionService, fromMessage, toMessage } from '../../proto/web.ts';

type Plain = Record<string, unknown>;

/** Any message of a type, as the generated types have it. */
function anyMessage(type: DescMessage): fc.Arbitrary<Plain> {
  const entries = type.fields.map((field): [string, fc.Arbitrary<unknown>] => {
    const value = anyValue(field);
    if (field.fieldKind === 'list') return [field.localName, fc.array(value, { maxLength: 3 })];
    if (field.fieldKind === 'map')
      return [field.localName, fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), value, { maxKeys: 3 })];
    return [field.localName, fc.option(value, { nil: undefined })];
  });
  const message = fc.record(Object.fromEntries(entries));
  // At most one of a oneof.
  const groups = type.oneofs.map(({ fields }) => fields.map(({ localName }) => localName));
  return fc.tuple(message, fc.nat()).map(([plain, choice]) => {
    const copy: Plain = { ...plain };
    for (const names of groups)
      names.forEach((name, i) => void (i !== choice % names.length && delete copy[name]));
    return copy;
  });
}

function anyValue(field: DescField): fc.Arbitrary<unknown> {
  if (field.message) return anyMessage(field.message);
  if (field.enum) return fc.constantFrom(...field.enum.values.map(({ name }) => name));
  switch (field.scalar) {
    case ScalarType.STRING:
      return fc.string({ unit: 'grapheme' });
    case ScalarType.BYTES:
      return fc.uint8Array().map((bytes) => Buffer.from(bytes));
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.DOUBLE:
      return fc.double({ noNaN: true }).filter((x) => !Object.is(x, -0));
    case ScalarType.UINT64:
      return fc.maxSafeNat();
    case ScalarType.UINT32:
      return fc.nat(2 ** 32 - 1);
    default:
      throw new Error(`No values for ${field}`);
  }
}

/** Bytes are Uint8Array there, as not every runtime has Buffer. */
function withBuffers(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(withBuffers);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withBuffers(each)]));
}

describe('the contract for Workers', () => {
  const service = diffusion.service as unknown as ServiceDefinition;
  for (const method of diffusionService.methods) {
    const loaded = service[method.name]!;
    const cases = [
      [method.input, loaded.requestSerialize, loaded.requestDeserialize, loaded.requestType],
      [method.output, loaded.responseSerialize, loaded.responseDeserialize, loaded.responseType],
    ] as const;
    it.each(cases)(
      `reads and writes what gRPC does: ${method.name}, %s`,
      (type, serialize, deserialize, other) => {
        expect(other.type).toMatchObject({ name: type.name });
        fc.assert(
          fc.property(anyMessage(type), (plain) => {
            const written = Buffer.from(toBinary(type, toMessage(type, plain)));
            const expected = deserialize(serialize(plain));
            expect(deserialize(written)).toEqual(expected);
            expect(withBuffers(fromMessage(type, fromBinary(type, written)))).toEqual(expected);
          }),
          { numRuns: 20 },
        );
      },
    );
    it(`has the stream of ${method.name}`, () => {
      expect(loaded.responseStream).toBe(method.methodKind === 'server_streaming');
    });
  }
});
