import { readFileSync } from 'node:fs';
import { z } from 'zod';

const text = z.string().min(1);
const texts = z.array(text);
const count = z.int().min(0);
const flag = z.boolean();

/** The section `edge` of a file of settings: the variables of docs/deployment.md, in lower case. */
const edge = z
  .strictObject({
    ...{ host: text, port: count, trust_proxy: flag, arrival_timeout_seconds: count },
    ...{ sidecar_address: texts, sidecar_token: text, sidecar_token_file: text, sidecar_hedge_ms: count },
    ...{
      sidecar_tls: flag,
      sidecar_ca: text,
      sidecar_cert: text,
      sidecar_key: text,
      sidecar_server_name: text,
      sidecar_keepalive: count,
    },
    ...{ api_keys: z.array(z.unknown()), api_keys_file: text, allowed_origins: texts, allowed_hosts: texts },
    ...{ rate_limit_per_minute: count, request_timeout_seconds: count },
    ...{ max_body_bytes: count, max_reply_pixels: count },
    ...{ cache_seconds: count, cache_bytes: count, cache_shared: flag },
    ...{ jobs_max: count, jobs_bytes: count, jobs_keep_seconds: count },
    ...{
      webhook_hosts: texts,
      webhook_secret: text,
      image_hosts: texts,
      latent_edge_grace: count,
      latent_edge_log: text,
      otel_exporter_otlp_endpoint: text,
    },
  })
  .partial();

const sections = z.strictObject({
  $schema: text.optional(),
  sidecar: z.record(z.string(), z.unknown()).optional(),
  edge: z.record(z.string(), z.unknown()).optional(),
});

/**
 * Runs `read` with the variables of an environment and, where they say nothing, those of the file of settings that
 * LATENT_EDGE_CONFIG names.
 * @throws Error saying which setting is wrong, how, and in which file.
 */
export function withConfigFile<T>(env: NodeJS.ProcessEnv, read: (env: NodeJS.ProcessEnv) => T): T {
  const file = env.LATENT_EDGE_CONFIG;
  if (!file) return read(env);
  const variables = variablesOf(file);
  const given = Object.entries(env).filter(([, value]) => value !== '');
  try {
    return read({ ...variables, ...Object.fromEntries(given) });
  } catch (error) {
    // It names a variable, which stands in the file.
    const { message } = error as Error;
    const name = /\bfor ([A-Z_]+)/.exec(message)?.[1];
    if (name === undefined || env[name] || variables[name] === undefined) throw error;
    throw new Error(`${message.replace(name, `edge.${name.toLowerCase()}`)}, in ${file}`, { cause: error });
  }
}

function variablesOf(file: string): Record<string, string> {
  const whole = sections.safeParse(parse(file));
  if (!whole.success)
    throw new Error(`expected an object with sidecar and edge, objects too, and nothing else, in ${file}`);
  const section = whole.data.edge ?? {};
  const parsed = edge.safeParse(section);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    if (issue!.code === 'unrecognized_keys')
      throw new Error(
        `expected one of ${Object.keys(edge.shape).join(', ')} in edge but received "${issue!.keys[0]}", in ${file}`,
      );
    const [key] = issue!.path as string[];
    const received = /token$|secret|keys$/.test(key!) ? 'something else' : JSON.stringify(section[key!]);
    throw new Error(`expected ${whatOf(key!)} for edge.${key} but received ${received}, in ${file}`);
  }
  const variables = Object.entries(parsed.data).map(([key, value]) => [key.toUpperCase(), toText(value)]);
  return Object.fromEntries(variables);
}

function whatOf(key: string): string {
  const schema = edge.shape[key as keyof typeof edge.shape].unwrap() as z.ZodType;
  if (schema === count) return 'a whole number';
  if (schema === flag) return 'true or false';
  return schema === text ? 'text' : 'a list';
}

/** As a variable has it. */
function toText(value: unknown): string {
  if (!Array.isArray(value)) return String(value);
  return value.every((each) => typeof each === 'string') ? value.join(',') : JSON.stringify(value);
}

function parse(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Error(`expected a file of settings, JSON: ${(error as Error).message}, in ${file}`);
  }
}
