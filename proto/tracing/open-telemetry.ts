import {
  type Context,
  defaultTextMapGetter,
  defaultTextMapSetter,
  type HrTime,
  type Link,
  type Span as OtelSpan,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Attributes, Span, Trace, TraceHeaders, Tracing } from './index.ts';

interface Options {
  service: string;
  url: string;
  env: Record<string, string | undefined>;
}

const propagator = new W3CTraceContextPropagator();

/** Spans, sent in batches by OTLP over HTTP; OTEL_EXPORTER_OTLP_HEADERS and its like are the exporter's to read. */
export function openTelemetry({ service, url, env }: Options): Tracing {
  const own = resourceFromAttributes({ 'service.name': env.OTEL_SERVICE_NAME || service });
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(own)
      .merge(detectResources({ detectors: [envDetector] })),
    sampler: samplerOf(env),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url }) })],
  });
  const tracer = provider.getTracer('latent-edge');
  return {
    start: (name, { kind, within, attributes = {} }) =>
      new RecordedSpan(tracer, name, { kind: kinds[kind], within, attributes }),
    // Who collects them may be gone.
    close: () => provider.shutdown().catch(() => {}),
  };
}

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT };

/** OTEL_TRACES_SAMPLER and its argument: every trace, unless the caller's own says that it is not wanted. */
function samplerOf(env: Options['env']): Sampler {
  const name = env.OTEL_TRACES_SAMPLER || 'parentbased_always_on';
  const ratio = Number(env.OTEL_TRACES_SAMPLER_ARG || 1);
  const isShare = ratio >= 0 && ratio <= 1;
  if (/traceidratio$/.test(name) && !isShare)
    throw new Error(
      `expected a number from 0 to 1 for OTEL_TRACES_SAMPLER_ARG but received "${env.OTEL_TRACES_SAMPLER_ARG}"`,
    );
  const samplers: Record<string, () => Sampler> = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  };
  const root = samplers[name.replace(/^parentbased_/, '')];
  if (!root) {
    const known = Object.keys(samplers).flatMap((each) => [each, `parentbased_${each}`]);
    throw new Error(`expected one of ${known.join(', ')} for OTEL_TRACES_SAMPLER but received "${name}"`);
  }
  return name.startsWith('parentbased_') ? new ParentBasedSampler({ root: root() }) : root();
}

function linkTo(traceparent: string): Link[] {
  const context = trace.getSpanContext(
    propagator.extract(ROOT_CONTEXT, { traceparent }, defaultTextMapGetter),
  );
  return context ? [{ context }] : [];
}

class RecordedSpan implements Span {
  readonly headers: TraceHeaders = {};
  readonly #tracer: Tracer;
  readonly #span: OtelSpan;
  readonly #context: Context;
  readonly #within: RecordedSpan | undefined;
  /** From `performance.now()` to milliseconds since 1970: one for a trace, however the clock is set meanwhile. */
  readonly #epoch: number;
  /** Spans within it that have not ended. */
  #open = 0;
  #isOver = false;

  constructor(
    tracer: Tracer,
    name: string,
    { kind, within, attributes }: { kind: SpanKind; within: Trace | undefined; attributes: Attributes },
  ) {
    this.#tracer = tracer;
    const outer = within?.span instanceof RecordedSpan ? within.span : undefined;
    const parent = outer
      ? outer.#context
      : propagator.extract(ROOT_CONTEXT, within?.headers ?? {}, defaultTextMapGetter);
    this.#within = outer;
    this.#epoch = outer ? outer.#epoch : Date.now() - performance.now();
    this.#span = tracer.startSpan(name, { kind, attributes, startTime: this.#time() }, parent);
    this.#context = trace.setSpan(parent, this.#span);
    propagator.inject(this.#context, this.headers, defaultTextMapSetter);
    if (outer) outer.#open++;
  }

  get span(): Span {
    return this;
  }

  rename(name: string): void {
    this.#span.updateName(name);
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  add(
    name: string,
    began: number,
    ended: number,
    attributes: Attributes = {},
    linked: readonly string[] = [],
  ): void {
    const startTime = this.#time(began);
    const links = linked.flatMap(linkTo);
    this.#tracer.startSpan(name, { startTime, attributes, links }, this.#context).end(this.#time(ended));
  }

  end(error?: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (error !== undefined) {
      this.#span.setAttribute('error.type', error);
      this.#span.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.#endWhenAlone();
  }

  // A reply that is a stream has begun, and its call goes on.
  #endWhenAlone(): void {
    if (!this.#isOver || this.#open > 0) return;
    this.#span.end(this.#time());
    if (!this.#within) return;
    this.#within.#open--;
    this.#within.#endWhenAlone();
  }

  #time(now = performance.now()): HrTime {
    const ms = this.#epoch + now;
    const seconds = Math.floor(ms / 1000);
    return [seconds, Math.round((ms - 1000 * seconds) * 1e6)];
  }
}
