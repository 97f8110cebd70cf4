// Traces as both halves make them. What makes and sends them (open-telemetry.ts) is loaded where it is asked for alone.

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
  /** What has ended within it; times as `performance.now()` gives them. */
  add(name: string, began: number, ended: number, attributes?: Attributes): void;
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

type Environment = Record<string, string | undefined>;

/**
 * Whether traces are wanted, and by whom: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_EXPORTER_OTLP_ENDPOINT, to which
 * `/v1/traces` is added.
 * @throws Error where it is no URL of HTTP.
 */
export function tracesUrl(env: Environment): string | undefined {
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none')
    return undefined;
  const own = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
  const name = own ? 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT' : 'OTEL_EXPORTER_OTLP_ENDPOINT';
  const value = own || env.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (!value) return undefined;
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol))
    throw new Error(`expected a URL of http or https for ${name} but received ${JSON.stringify(value)}`);
  return own ? value : `${value.replace(/\/+$/, '')}/v1/traces`;
}

/**
 * Traces of a service, sent to where the environment says; nothing is loaded, and undefined returned, where it says
 * nowhere.
 * @throws Error saying which variable is wrong.
 */
export async function openTracing(service: string, env: Environment): Promise<Tracing | undefined> {
  const url = tracesUrl(env);
  if (url === undefined) return undefined;
  const { openTelemetry } = await import('./open-telemetry.ts');
  return openTelemetry({ service, url, env });
}
