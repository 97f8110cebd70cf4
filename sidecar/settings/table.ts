import { delimiter } from 'node:path';
import { weightStorages } from '../checkpoints/weights.ts';
import { DEVICES } from '../engine/devices/spelling.ts';
import { bytes, choice, flag, type Kind, list, port, text, wholeNumber } from './kinds.ts';

/** One thing that an operator sets. */
export interface Setting<T> {
  kind: Kind<T>;
  /** Environment variable. */
  env: string;
  /** As commander writes it: `--port <n>`. */
  flag?: string;
  /** Whether the flag may be repeated: then it adds to a list. */
  repeats?: boolean;
  what: string;
  /** Where nothing is said. */
  fallback?: T;
  /** The same in words, where it is no constant. */
  otherwise?: string;
  /** Never shown. */
  isSecret?: boolean;
}

const row = <T, const S extends Omit<Setting<T>, 'kind'>>(kind: Kind<T>, rest: S) => ({ kind, ...rest });

/** Everything that is set of `latent-edge serve`, by its key in the file; docs/settings.md is made of it. */
export const table = {
  host: row(text, {
    env: 'GRPC_HOST',
    flag: '--host <address>',
    what: 'address to listen on',
    fallback: '127.0.0.1',
  }),
  port: row(port, { env: 'GRPC_PORT', flag: '--port <n>', what: 'port to listen on', fallback: 50_051 }),
  token: row(text, {
    env: 'GRPC_TOKEN',
    what: 'what callers have to send as `authorization: Bearer`, 16 characters at least',
    isSecret: true,
  }),
  token_file: row(text, {
    env: 'GRPC_TOKEN_FILE',
    flag: '--token-file <file>',
    what: 'file with such tokens, one a line, of which callers send any; read again when it changes',
  }),
  allow_anonymous: row(flag, {
    env: 'GRPC_ALLOW_ANONYMOUS',
    flag: '--allow-anonymous',
    what: 'take calls from other machines without a token and without client certificates',
    fallback: false,
  }),
  tls_cert: row(text, {
    env: 'GRPC_TLS_CERT',
    flag: '--tls-cert <file>',
    what: 'PEM file of the certificate, and those between it and the authority: TLS on both ports',
  }),
  tls_key: row(text, { env: 'GRPC_TLS_KEY', flag: '--tls-key <file>', what: 'PEM file of its key' }),
  tls_client_ca: row(text, {
    env: 'GRPC_TLS_CLIENT_CA',
    flag: '--tls-client-ca <file>',
    what: 'PEM file of the authorities whose clients are let in, and no others (mTLS)',
  }),
  max_request_bytes: row(bytes, {
    env: 'GRPC_MAX_REQUEST_BYTES',
    flag: '--max-request-bytes <bytes>',
    what: 'of one request, at most',
    fallback: 64 * 2 ** 20,
  }),
  keepalive: row(wholeNumber(1, 7200), {
    env: 'GRPC_KEEPALIVE',
    flag: '--keepalive <s>',
    what: 'seconds without a word from a caller who waits, after which it is asked whether it is there, and has half as many to answer',
    fallback: 30,
  }),
  max_connection_age: row(wholeNumber(1, 2_592_000), {
    env: 'GRPC_MAX_CONNECTION_AGE',
    flag: '--max-connection-age <s>',
    what: 'seconds after which a caller is asked to connect anew, so that callers find sidecars that were added',
    otherwise: 'never',
  }),
  max_connection_age_grace: row(wholeNumber(0, 86_400), {
    env: 'GRPC_MAX_CONNECTION_AGE_GRACE',
    flag: '--max-connection-age-grace <s>',
    what: 'seconds that calls of such a connection may still take',
    otherwise: 'as many as they need',
  }),
  web_port: row(port, {
    env: 'GRPC_WEB_PORT',
    flag: '--web-port <n>',
    what: 'port to serve gRPC-Web on as well, for an edge on Workers',
  }),
  web_host: row(text, {
    env: 'GRPC_WEB_HOST',
    flag: '--web-host <address>',
    what: 'address to serve gRPC-Web on',
    fallback: '127.0.0.1',
  }),
  web_token: row(text, {
    env: 'GRPC_WEB_TOKEN',
    what: 'what callers of gRPC-Web have to send, 16 characters at least',
    otherwise: 'the tokens of gRPC',
    isSecret: true,
  }),
  metrics_port: row(port, {
    env: 'METRICS_PORT',
    flag: '--metrics-port <n>',
    what: 'port to serve Prometheus metrics, /livez and /readyz on',
  }),
  metrics_host: row(text, {
    env: 'METRICS_HOST',
    flag: '--metrics-host <address>',
    what: 'address to serve them on; nobody is asked for a token there',
    fallback: '127.0.0.1',
  }),
  traces_endpoint: row(text, {
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    flag: '--traces-endpoint <url>',
    what: 'where OpenTelemetry traces are sent, by OTLP over HTTP',
  }),
  model: row(list(), {
    env: 'LATENT_EDGE_MODEL',
    flag: '--model <dir|name>',
    repeats: true,
    what: 'models, folders of models or names; the first is the default',
    otherwise: 'models-and-formats.md says which',
  }),
  models: row(list(delimiter), {
    env: 'LATENT_EDGE_MODELS',
    what: 'folders of models',
    otherwise: 'the folder of pulled models',
  }),
  device: row(text, {
    env: 'LATENT_EDGE_DEVICE',
    flag: '--device <id>',
    what: `where to compute: ${DEVICES}; \`latent-edge devices\` lists them`,
    fallback: 'cpu',
  }),
  threads: row(wholeNumber(1, 256), {
    env: 'LATENT_EDGE_THREADS',
    flag: '--threads <n>',
    what: 'CPU threads, of all its workers together',
    otherwise: 'one for each core',
  }),
  dtype: row(choice('f32', 'f16', 'bf16'), {
    env: 'LATENT_EDGE_DTYPE',
    flag: '--dtype <name>',
    what: 'what to compute in',
    otherwise: "the device's own; a CPU's is f32",
  }),
  weights: row(choice(...weightStorages), {
    env: 'LATENT_EDGE_WEIGHTS',
    flag: '--weights <name>',
    what: 'how matrices are kept in memory: file, as the files have them; int8, in 8 bits, on CPUs alone',
    fallback: 'file',
  }),
  providers: row(choice('hand', 'vendor', 'auto'), {
    env: 'LATENT_EDGE_PROVIDERS',
    flag: '--providers <name>',
    what: 'who computes on a GPU: hand, our own kernels; vendor, cuBLASLt and cuDNN wherever they can; auto, whoever is faster',
    fallback: 'hand',
  }),
  device_memory: row(bytes, {
    env: 'LATENT_EDGE_DEVICE_MEMORY',
    flag: '--device-memory <bytes>',
    what: "of each device's memory, at most: a GPU takes no more, and what weights and one program would pass it with is refused",
    otherwise: 'all',
  }),
  run_timeout: row(wholeNumber(0, 86_400), {
    env: 'LATENT_EDGE_RUN_TIMEOUT',
    flag: '--run-timeout <s>',
    what: 'seconds that one run of a program may take in any case, before its device is taken to hang and is taken out; 0: never',
    otherwise: '60 on a GPU, never on a CPU',
  }),
  concurrency: row(wholeNumber(1, 64), {
    env: 'LATENT_EDGE_CONCURRENCY',
    flag: '--concurrency <n>',
    what: 'requests that run at once on each device, where their models fit into memory together',
    fallback: 16,
  }),
  queue_limit: row(wholeNumber(0, 10_000), {
    env: 'LATENT_EDGE_QUEUE_LIMIT',
    flag: '--queue-limit <n>',
    what: "requests that may wait; their pictures and tensors together take an eighth of the machine's memory at most in any case",
    fallback: 256,
  }),
  memory_budget: row(bytes, {
    env: 'LATENT_EDGE_MEMORY_BUDGET',
    flag: '--memory-budget <bytes>',
    what: 'for the weights of loaded models together, on each device',
    otherwise: "half of the device's memory",
  }),
  preload: row(flag, {
    env: 'LATENT_EDGE_PRELOAD',
    flag: '--preload',
    what: 'load the default model on every device and make a picture there before saying that it is ready: the first request is as fast as others',
    fallback: false,
  }),
  grace: row(wholeNumber(0, 3600), {
    env: 'LATENT_EDGE_GRACE',
    flag: '--grace <s>',
    what: 'seconds for requests in flight when it is stopped',
    fallback: 10,
  }),
  drain_delay: row(wholeNumber(0, 600), {
    env: 'LATENT_EDGE_DRAIN_DELAY',
    flag: '--drain-delay <s>',
    what: 'seconds in which requests are still taken when it is stopped, while health says NOT_SERVING',
    fallback: 0,
  }),
  log: row(choice('text', 'json'), {
    env: 'LATENT_EDGE_LOG',
    flag: '--log <format>',
    what: 'how lines of the log are written: for people, or an object each',
    fallback: 'text',
  }),
  log_prompts: row(flag, {
    env: 'LATENT_EDGE_LOG_PROMPTS',
    flag: '--log-prompts',
    what: 'write prompts into the log',
    fallback: false,
  }),
};

type Table = typeof table;
type Value<S> = S extends { kind: Kind<infer T> } ? T : never;

/** Read and checked. */
export type Settings = {
  [K in keyof Table]: Table[K] extends { fallback: unknown } ? Value<Table[K]> : Value<Table[K]> | undefined;
};

/** `--web-port <n>` → `--web-port`, and `webPort`, as commander has it. */
export function flagNames(setting: { flag?: string }): { option: string; property: string } | undefined {
  const option = setting.flag?.split(' ')[0];
  if (option === undefined) return undefined;
  const property = option.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
  return { option, property };
}
