import { create, type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf';
import { fileDesc, type GenService, serviceDesc } from '@bufbuild/protobuf/codegenv2';
import { reflect } from '@bufbuild/protobuf/reflect';
import { descriptor } from './gen/descriptor.ts';

export { metadataKeys } from './metadata.ts';

/** The service as Connect wants it, of the same contract as index.ts, for runtimes without files and `eval`. */
export const diffusionService = serviceDesc(fileDesc(descriptor), 0) as GenService<{
  generate: { methodKind: 'server_streaming'; input: DescMessage; output: DescMessage };
  listModels: { methodKind: 'unary'; input: DescMessage; output: DescMessage };
  deviceInfo: { methodKind: 'unary'; input: DescMessage; output: DescMessage };
  listNames: { methodKind: 'unary'; input: DescMessage; output: DescMessage };
  preprocess: { methodKind: 'unary'; input: DescMessage; output: DescMessage };
}>;

type Plain = Record<string, unknown>;

/**
 * A message out of a plain object, as the generated types (proto/gen) have it: camelCase, 64-bit integers as numbers,
 * enums as strings. Fields that are undefined or null stay unset.
 */
export function toMessage(type: DescMessage, plain: Plain): Message {
  const message = reflect(type, create(type));
  for (const field of type.fields) {
    const value = plain[field.localName];
    if (value === undefined || value === null) continue;
    if (field.fieldKind === 'list') {
      const list = message.get(field);
      for (const item of value as unknown[]) list.add(toValue(field, item) as never);
    } else if (field.fieldKind === 'map') {
      const map = message.get(field);
      for (const [key, item] of Object.entries(value)) map.set(key, toValue(field, item) as never);
    } else message.set(field, toValue(field, value));
  }
  return message.message;
}

/** A message as a plain object of the generated output types: every default filled in, bytes as Uint8Array. */
export function fromMessage(type: DescMessage, value: Message): Plain {
  const message = reflect(type, value);
  const plain: Plain = {};
  for (const field of type.fields) {
    const name = field.localName;
    if (field.fieldKind === 'list')
      plain[name] = Array.from(message.get(field), (item) => fromValue(field, item));
    else if (field.fieldKind === 'map')
      plain[name] = Object.fromEntries(
        Array.from(message.get(field), ([key, item]) => [String(key), fromValue(field, item)]),
      );
    else if (message.isSet(field)) {
      plain[name] = fromValue(field, message.get(field));
      const oneof = field.oneof?.name ?? (isOptional(field) ? `_${name}` : undefined);
      if (oneof) plain[oneof] = name;
    } else if (field.fieldKind === 'message') {
      if (!field.oneof) plain[name] = null;
    } else if (!field.oneof && !isOptional(field)) plain[name] = fromValue(field, message.get(field));
  }
  return plain;
}

/** `optional` of a scalar or an enum. */
function isOptional(field: DescField): boolean {
  return field.proto.proto3Optional;
}

function toValue(field: DescField, value: unknown): unknown {
  if (field.message) return reflect(field.message, toMessage(field.message, value as Plain));
  if (field.enum) {
    const found = field.enum.values.find(({ name }) => name === value);
    if (!found)
      throw new Error(`Expected a value of ${field.enum.name} for ${field.name} but received ${value}`);
    return found.number;
  }
  return isLong(field) ? BigInt(value as number) : value;
}

function fromValue(field: DescField, value: unknown): unknown {
  if (field.message) return fromMessage(field.message, (value as { message: Message }).message);
  if (field.enum) return field.enum.values.find(({ number }) => number === value)?.name ?? value;
  return isLong(field) ? Number(value) : value;
}

function isLong(field: DescField): boolean {
  return field.scalar === ScalarType.UINT64 || field.scalar === ScalarType.INT64;
}
