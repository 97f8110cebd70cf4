import type { Tracing } from './index.ts';

// Apart from the rest, as a Worker is packed with everything that it could load.

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
