// Traces as both halves make them, wherever they run; open.ts has what makes and sends them on Node.

/** W3C Trace Context (w3.org/TR/trace-context), as headers and as gRPC metadata. */
export interface TraceHeaders {
  traceparent?: string | undefined;
  tracestate?: string | undefined;
}

export type Attributes = Record<string, string | number | boolean>;

/** Whose trace something belongs to: a span of this process, or headers that go through. */
export interface Trace {
  readonly headers: TraceHeaders;
  readonly span?: Span | undefined;
}

export interface Span extends Trace {
  rename(name: string): void;
  set(attributes: Attributes): void;
  /**
   * What has ended within it; times as `performance.now()` gives them.
   * @param links traceparents of spans, of whichever trace, that it has to do with.
   */
  add(name: string, began: number, ended: number, attributes?: Attributes, links?: readonly string[]): void;
  /** With what began within it, if that ends later. `error`: a code, where it failed. */
  end(error?: string): void;
}

export interface Tracing {
  start(
    name: string,
    options: { kind: 'server' | 'client'; within?: Trace | undefined; attributes?: Attributes },
  ): Span;
  /** Sends what there is. */
  close(): Promise<void>;
}

const TRACEPARENT = /^[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}(-.*)?$/;
const MAX_STATE = 512;

/** What a caller has sent; nothing, where it is none of the standard's. */
export function traceHeaders(read: (name: string) => string | undefined): TraceHeaders {
  const traceparent = read('traceparent');
  if (!traceparent || traceparent.length > 128 || !TRACEPARENT.test(traceparent)) return {};
  const tracestate = read('tracestate');
  const isSound = tracestate !== undefined && tracestate.length <= MAX_STATE && /^[ -~]+$/.test(tracestate);
  return { traceparent, ...(isSound && { tracestate }) };
}
