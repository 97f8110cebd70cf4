import fc from 'fast-check';

/** A JSON Schema of an OpenAPI 3.1 document, as far as this server's has any. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  pattern?: string;
  example?: unknown;
  format?: string;
}

export interface Document {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

export interface Operation {
  parameters?: { name: string; in: string; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
}

/** A schema with what it refers to in its place. */
export function resolved(schema: Schema, document: Document): Schema {
  if (schema.$ref) return resolved(document.components.schemas[schema.$ref.split('/').at(-1)!]!, document);
  const each = (part: Schema) => resolved(part, document);
  const { properties, items, additionalProperties } = schema;
  const lists = Object.fromEntries(
    (['anyOf', 'oneOf', 'allOf'] as const).flatMap((key) =>
      schema[key] ? [[key, schema[key].map(each)]] : [],
    ),
  );
  return {
    ...schema,
    ...lists,
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, each(value)])),
    }),
    ...(items && { items: each(items) }),
    ...(typeof additionalProperties === 'object' && { additionalProperties: each(additionalProperties) }),
  };
}

/** What has bitten parsers. */
const nasty = fc.oneof(
  fc.constantFrom<unknown>(null, '', 0, -0, -1, 1e308, 5e-324, 2 ** 53, true, [], {}, [[]], '\0', '\ud800'),
  fc.constantFrom<unknown>(
    '../../etc/passwd',
    '%2e%2e',
    '__proto__',
    '1e9',
    'NaN',
    '٣',
    '\u202e',
    'a'.repeat(5000),
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.jsonValue({ maxDepth: 2 }),
);

/** Values of a schema without references, and now and then of its surroundings: out of range, of another type. */
export function valuesAround(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof(
    { arbitrary: valuesOf(schema), weight: 7 },
    { arbitrary: nasty, weight: 1 },
    ...beyond(schema),
  );
}

/** Just out of range. */
function beyond({ minimum, maximum, maxLength, maxItems, items }: Schema) {
  const numbers = [minimum, maximum].flatMap((edge, i) => (edge === undefined ? [] : [edge + (i ? 1 : -1)]));
  const text = maxLength !== undefined && maxLength < 40_000 ? ['x'.repeat(maxLength + 1)] : [];
  const list =
    maxItems !== undefined && items
      ? [
          {
            arbitrary: fc.array(valuesOf(items), { minLength: maxItems + 1, maxLength: maxItems + 1 }),
            weight: 1,
          },
        ]
      : [];
  const values = [...numbers, ...text];
  return [
    ...(values.length > 0 ? [{ arbitrary: fc.constantFrom<unknown>(...values), weight: 1 }] : []),
    ...list,
  ];
}

function valuesOf(schema: Schema): fc.Arbitrary<unknown> {
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives) return fc.oneof(...alternatives.map(valuesOf));
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.const !== undefined) return fc.constant(schema.const);
  const types = [schema.type ?? []].flat();
  if (types.length > 1) return fc.oneof(...types.map((type) => valuesOf({ ...schema, type })));
  switch (types[0]) {
    case 'string':
      return texts(schema);
    case 'integer':
    case 'number':
      return numbers(schema, types[0] === 'integer');
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(valuesAround(schema.items ?? {}), { maxLength: Math.min(3, schema.maxItems ?? 3) });
    case 'object':
      return objects(schema);
    default:
      return nasty;
  }
}

function texts({ example, pattern, minLength = 0, maxLength = 64, format }: Schema): fc.Arbitrary<unknown> {
  const examples = typeof example === 'string' ? [fc.constant(example)] : [];
  if (pattern) return fc.oneof(...examples, fc.stringMatching(new RegExp(pattern)));
  if (format === 'uri') return fc.webUrl();
  const free = fc.string({ unit: 'grapheme', minLength, maxLength: Math.min(maxLength, 64) });
  return fc.oneof(...examples, free);
}

function numbers(schema: Schema, whole: boolean): fc.Arbitrary<unknown> {
  const min = schema.minimum ?? schema.exclusiveMinimum ?? -1e9;
  const max = schema.maximum ?? schema.exclusiveMaximum ?? 1e9;
  const edges = fc.constantFrom(min, max, Math.max(min, Math.min(max, 1)));
  return fc.oneof(
    edges,
    whole
      ? fc.integer({ min: Math.ceil(min), max: Math.floor(Math.min(max, min + 2 ** 32)) })
      : fc.double({ min, max, noNaN: true }),
  );
}

/** What is required, and a few of the others. */
function objects({ properties = {}, required = [], additionalProperties }: Schema): fc.Arbitrary<unknown> {
  const names = Object.keys(properties);
  const optional = names.filter((name) => !required.includes(name));
  const further =
    typeof additionalProperties === 'object'
      ? fc.dictionary(fc.string({ maxLength: 8 }), valuesAround(additionalProperties), { maxKeys: 2 })
      : fc.constant({});
  return fc
    .tuple(fc.subarray(optional, { maxLength: Math.min(4, optional.length) }), further)
    .chain(([some, more]) =>
      fc
        .record(
          Object.fromEntries([...required, ...some].map((name) => [name, valuesAround(properties[name]!)])),
        )
        .map((own) => ({ ...more, ...own })),
    );
}
