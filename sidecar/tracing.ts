import type { Span, Tracing } from '../proto/tracing/index.ts';
import { traceHeaders } from '../proto/tracing/index.ts';
import type { AnyCall, CallLog } from './calls.ts';
import type { OnStage } from './engine/stage.ts';

const SERVICE = 'latentedge.v1.Diffusion';

/** The span of a call, within the trace that its metadata names. */
export function callSpan(tracing: Tracing, method: string, requestId: string, { metadata }: AnyCall): Span {
  const headers = traceHeaders((name) => metadata.get(name)[0]?.toString());
  return tracing.start(`${SERVICE}/${method}`, {
    ...{ kind: 'server', within: { headers } },
    attributes: {
      'rpc.system': 'grpc',
      'rpc.service': SERVICE,
      'rpc.method': method,
      'latent_edge.request_id': requestId,
    },
  });
}

/** Adds a request's stages to its call's span. */
export function stagesOf(span: Span): OnStage {
  return ({ name, began, ended, attributes = {}, links }) =>
    span.add(
      name,
      began,
      ended,
      Object.fromEntries(Object.entries(attributes).map(([key, value]) => [`latent_edge.${key}`, value])),
      links,
    );
}

/** Ends a call's span with what the log says of it: never a prompt. */
export function endSpan(span: Span, { code, what }: Pick<CallLog, 'code' | 'what'>): void {
  if (what !== undefined) span.set({ 'latent_edge.what': what });
  span.end(code === 'ok' ? undefined : code);
}
