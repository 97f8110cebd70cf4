import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { fakeSidecar } from '../../support/fake-sidecar.ts';
import {
  type Document,
  type Operation,
  resolved,
  type Schema,
  valuesAround,
} from '../../support/openapi-arbitrary.ts';
import type { Edge } from '../../support/runtimes.ts';

/** Requests of each route, and where they begin: docs/testing.md. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 12);
const SEED = Number(process.env.FUZZ_SEED ?? 7);

/**
 * Requests of and around what the served document says, on every route of it. Answers have a status that the document
 * has there, none of them a fault of the server's, and are as its schema says.
 */
export function fuzz(edge: () => Edge): void {
  let document: Document;
  beforeAll(async () => {
    document = await (await edge().fetch('/openapi.json')).json();
  });

  it('answers as it is documented', { timeout: 30_000 + RUNS * 5000 }, async () => {
    edge().use(fakeSidecar({ steps: 1 }));
    const replies = new Map<Schema, z.ZodType>();
    const conforms = (schema: Schema, value: unknown) => {
      const type = replies.get(schema) ?? z.fromJSONSchema(resolved(schema, document) as never);
      replies.set(schema, type);
      return type.safeParse(value);
    };
    for (const [path, methods] of Object.entries(document.paths))
      for (const [method, operation] of Object.entries(methods)) {
        const property = fc.asyncProperty(requests(operation, document), async ({ params, query, send }) => {
          const place = path.replace(/\{\w+\}/g, () => encodeURIComponent(params || 'x')) + query;
          const response = await edge().fetch(place, { ...send(), method: method.toUpperCase() });
          const text = await response.text();
          const seen = `${method} ${place} → ${response.status} ${text.slice(0, 300)}`;
          const faults = [500, 501, 502, 503, 504].includes(response.status);
          const declared = operation.responses[response.status];
          // A dot is no segment of a path.
          const isOther = response.status === 404 && /^\.{1,2}$/.test(params);
          expect(faults || !(declared || isOther) ? seen : '').toBe('');
          const content = declared?.content?.['application/json'];
          if (!content || !/json/.test(response.headers.get('content-type') ?? '')) return;
          const result = conforms(content.schema, JSON.parse(text));
          expect(result.success ? '' : `${seen}: ${result.error}`).toBe('');
        });
        // Of a request without fields there is one.
        const numRuns = operation.parameters?.length || operation.requestBody ? RUNS : 1;
        await fc.assert(property, { numRuns, seed: SEED });
      }
    expect((await edge().fetch('/healthz')).status).toBe(200);
  });
}

interface Sent {
  /** What stands in the path. */
  params: string;
  query: string;
  send: () => RequestInit;
}

function requests({ parameters = [], requestBody }: Operation, document: Document): fc.Arbitrary<Sent> {
  const params = parameters.some((each) => each.in === 'path')
    ? fc.string({ unit: 'grapheme', maxLength: 80 })
    : fc.constant('');
  const named = parameters.filter((each) => each.in === 'query');
  const query = fc
    .record(Object.fromEntries(named.map(({ name, schema }) => [name, valuesAround(schema)])))
    .map((values) => {
      const pairs = Object.entries(values).map(([name, value]) => [name, wellFormed(String(value))]);
      return pairs.length > 0 ? `?${new URLSearchParams(pairs)}` : '';
    });
  return fc.record({ params: params.map(wellFormed), query, send: bodies(requestBody, document) });
}

const wellFormed = (text: string) => text.replace(/\p{Surrogate}/gu, '?');

function bodies(body: Operation['requestBody'], document: Document): fc.Arbitrary<() => RequestInit> {
  const [type, content] = Object.entries(body?.content ?? {})[0] ?? [];
  if (!type || !content) return fc.constant(() => ({}));
  const values = valuesAround(resolved(content.schema, document));
  if (type === 'multipart/form-data') return values.map((value) => () => ({ body: formOf(value) }));
  const headers = { 'content-type': type };
  return values.map((value) => () => ({ headers, body: JSON.stringify(value) }));
}

/** Files in base64 as files, the rest as text. */
function formOf(value: unknown): FormData {
  const form = new FormData();
  const fields = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  for (const [name, field] of fields) {
    const isFile = typeof field === 'string' && (name === 'image' || name === 'mask');
    if (isFile) form.append(name, new Blob([field], { type: 'image/png' }), 'a.png');
    else form.append(name, typeof field === 'string' ? field : JSON.stringify(field));
  }
  return form;
}
