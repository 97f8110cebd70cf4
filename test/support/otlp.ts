import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

// What collects traces, as far as tests need it: OTLP over HTTP (opentelemetry.io/docs/specs/otlp), protobuf.

export interface CollectedSpan {
  service: string;
  traceId: string;
  spanId: string;
  /** Empty: none. */
  parentId: string;
  name: string;
  /** 1 internal, 2 server, 3 client. */
  kind: number;
  /** Nanoseconds since 1970. */
  began: bigint;
  ended: bigint;
  attributes: Record<string, unknown>;
  isError: boolean;
  links: { traceId: string; spanId: string }[];
}

export interface Collector {
  /** `http://127.0.0.1:PORT` */
  url: string;
  spans: CollectedSpan[];
  /** Headers of the last request. */
  headers: Record<string, unknown>;
  close(): void;
}

export async function collector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    collected.headers = request.headers;
    if (request.url === '/v1/traces') spans.push(...spansOf(Buffer.concat(chunks)));
    response.writeHead(request.url === '/v1/traces' ? 200 : 404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const collected: Collector = {
    ...{ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, headers: {} },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
  return collected;
}

/** A message's fields by number, each with all of its values. */
type Fields = Map<number, unknown[]>;

function fieldsOf(bytes: Uint8Array): Fields {
  const reader = new BinaryReader(bytes);
  const fields: Fields = new Map();
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const value =
      type === WireType.LengthDelimited
        ? reader.bytes()
        : type === WireType.Varint
          ? Number(reader.uint64())
          : type === WireType.Bit64
            ? BigInt(reader.fixed64())
            : reader.skip(type);
    fields.set(number, [...(fields.get(number) ?? []), value]);
  }
  return fields;
}

const below = (fields: Fields, number: number) =>
  ((fields.get(number) ?? []) as Uint8Array[]).map((bytes) => fieldsOf(bytes));
const bytes = (fields: Fields, number: number) =>
  Buffer.from((fields.get(number)?.[0] as Uint8Array | undefined) ?? []);
const text = (fields: Fields, number: number) => bytes(fields, number).toString('utf8');

function attributesOf(fields: Fields, number: number): Record<string, unknown> {
  return Object.fromEntries(
    below(fields, number).map((pair) => {
      const [value] = below(pair, 2);
      return [text(pair, 1), value!.has(1) ? text(value!, 1) : [...value!.values()][0]?.[0]];
    }),
  );
}

function spansOf(request: Uint8Array): CollectedSpan[] {
  return below(fieldsOf(request), 1).flatMap((resourceSpans) => {
    const service = attributesOf(below(resourceSpans, 1)[0]!, 1)['service.name'] as string;
    const spans = below(resourceSpans, 2).flatMap((scope) => below(scope, 2));
    return spans.map((span) => ({
      service,
      traceId: bytes(span, 1).toString('hex'),
      spanId: bytes(span, 2).toString('hex'),
      parentId: bytes(span, 4).toString('hex'),
      name: text(span, 5),
      kind: span.get(6)?.[0] as number,
      began: span.get(7)?.[0] as bigint,
      ended: span.get(8)?.[0] as bigint,
      attributes: attributesOf(span, 9),
      isError: below(span, 15)[0]?.get(3)?.[0] === 2,
      links: below(span, 13).map((link) => ({
        traceId: bytes(link, 1).toString('hex'),
        spanId: bytes(link, 2).toString('hex'),
      })),
    }));
  });
}
