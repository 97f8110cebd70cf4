import type { z } from 'zod';
import { ApiError } from './errors.ts';
import { checkValues } from './json-values.ts';

const MAX_PARTS = 256;
/** Characters of a name with others in brackets. */
const MAX_NAME = 1024;

const DASH = 0x2d;
const LINE_FEED = 0x0a;

type Fields = { [name: string]: unknown };

/**
 * A form's fields as JSON would have them: files as bytes, text as what `schema` has at its place, nested ones from
 * names such as `control[][model]` or `size_conditioning[crop_top]`. What cannot be read as that stays text, for the
 * schema to refuse.
 * @throws ApiError for what is no form.
 */
export async function formFields(request: Request, schema: z.ZodObject): Promise<Fields> {
  const type = request.headers.get('content-type') ?? '';
  const body = new Uint8Array(await request.arrayBuffer());
  // Before it is read: hundreds of thousands would keep everybody else waiting.
  const count = countParts(body, type);
  if (count > MAX_PARTS) {
    const message = `Expected a form of at most ${MAX_PARTS} fields but received ${count}`;
    throw new ApiError(400, 'invalid_request', message);
  }
  const form = await new Response(body, { headers: { 'content-type': type } }).formData().catch((cause) => {
    const message = 'Expected a form of multipart/form-data but it cannot be read';
    throw new ApiError(400, 'invalid_request', message, { cause });
  });
  const parts = [...form.entries()];
  checkValues(...parts.flatMap(([, value]) => (typeof value === 'string' && isJson(value) ? [value] : [])));
  const fields: Fields = Object.create(null);
  for (const [name, value] of parts) {
    const path = pathOf(name);
    put(fields, path, typeof value === 'string' ? value : new Uint8Array(await value.arrayBuffer()));
  }
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typed(value, fieldOf(schema, name))]),
  );
}

/** Boundaries that parts begin with, the last one apart: RFC 2046, 5.1.1. */
function countParts(body: Uint8Array, type: string): number {
  const [, quoted, bare] = /boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(type) ?? [];
  const boundary = new TextEncoder().encode(`--${quoted ?? bare ?? ''}`);
  let count = 0;
  for (let at = 0; at < body.length; at++) {
    if (body[at] !== DASH || (at > 0 && body[at - 1] !== LINE_FEED)) continue;
    if (!boundary.every((byte, i) => body[at + i] === byte)) continue;
    at += boundary.length;
    if (body[at] !== DASH) count++;
  }
  return count;
}

/** `loras[][name]` → `loras`, ``, `name` */
function pathOf(name: string): string[] {
  if (name.length > MAX_NAME) return [name];
  const match = /^([^[\]]+)((?:\[[^[\]]*\])*)$/.exec(name);
  if (!match) return [name];
  return [match[1]!, ...[...match[2]!.matchAll(/\[([^[\]]*)\]/g)].map(([, key]) => key!)].slice(0, 4);
}

/** Repeated names make a list; in a list of objects, a name that the last one has begins another. */
function put(at: Fields, [key, next, ...rest]: string[], value: unknown): void {
  const name = key!;
  if (next === undefined) {
    at[name] = at[name] === undefined ? value : [at[name], value].flat();
  } else if (next === '' && rest.length === 0) {
    at[name] = [...listOf(at[name]), value];
  } else if (next === '' || /^\d{1,3}$/.test(next)) {
    const list = listOf(at[name]) as Fields[];
    const last = list.at(-1);
    const isNew =
      !last || (next === '' ? rest[0]! in last && rest[1] === undefined : Number(next) >= list.length);
    const item = isNew ? Object.create(null) : last;
    if (isNew) list.push(item);
    at[name] = list;
    put(item, rest.length > 0 ? rest : ['value'], value);
  } else {
    const isFields =
      typeof at[name] === 'object' && !Array.isArray(at[name]) && !(at[name] instanceof Uint8Array);
    const inner: Fields = isFields ? (at[name] as Fields) : Object.create(null);
    at[name] = inner;
    put(inner, [next, ...rest], value);
  }
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** Text as the type that a schema asks for. */
function typed(value: unknown, schema: z.ZodType | undefined): unknown {
  const type = innermost(schema);
  if (!type) return value;
  if (typeof value === 'string') return fromText(value, type);
  if (Array.isArray(value) && type.def.type === 'array')
    return value.map((item) => typed(item, (type as z.ZodArray<z.ZodType>).element));
  if (Array.isArray(value) && type.def.type === 'union')
    return value.map((item) => fromText(String(item), type));
  if (type.def.type === 'object' && isPlain(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, typed(item, fieldOf(type as z.ZodObject, key))]),
    );
  if (type.def.type === 'record' && isPlain(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        typed(item, (type as z.ZodRecord).valueType as z.ZodType),
      ]),
    );
  return value;
}

const fieldOf = ({ shape }: z.ZodObject, name: string) =>
  Object.hasOwn(shape, name) ? (shape[name] as z.ZodType) : undefined;

const isPlain = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);

function fromText(text: string, { def }: z.ZodType): unknown {
  if (text === '' && def.type !== 'string' && def.type !== 'pipe') return undefined;
  switch (def.type) {
    case 'number':
      return numberOf(text) ?? text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'union':
      return numberOf(text) ?? jsonOf(text) ?? text;
    case 'array':
    case 'object':
    case 'record':
      return jsonOf(text) ?? text;
    default:
      return text;
  }
}

const numberOf = (text: string) =>
  /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(text) ? Number(text) : undefined;

const isJson = (text: string) => /^\s*[[{]/.test(text);

function jsonOf(text: string): unknown {
  if (!isJson(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What is optional or null, without that. */
function innermost(schema: z.ZodType | undefined): z.ZodType | undefined {
  let at = schema;
  while (at && (at.def.type === 'optional' || at.def.type === 'nullable'))
    at = (at as z.ZodOptional<z.ZodType>).unwrap();
  return at;
}
