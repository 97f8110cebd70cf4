import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  Message,
} from '@bufbuild/protobuf';
import { Code, ConnectError, type Transport } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';
import { diffusionService, fromMessage, metadataKeys, toMessage } from '../../proto/web.ts';
import { leavingWith } from '../leaving.ts';
import type { CallOptions, DeviceInfo, GenerateEvent, Image, Model, Names, SidecarClient } from './client.ts';
import { cancelled, sidecarError } from './failure.ts';

const { generate, listModels, deviceInfo, listNames, preprocess } = diffusionService.method;

export interface GrpcWebOptions {
  /** `fetch` of a binding to a private network; default: the runtime's own. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Sent with each call: what the bridge, or a tunnel before it, asks for. */
  headers?: Record<string, string>;
}

/**
 * A sidecar behind its gRPC-Web bridge (`GRPC_WEB_PORT`), for wherever there is `fetch`.
 * @param url `http://HOST:PORT`
 */
export function grpcWebSidecar(url: string, options: GrpcWebOptions = {}): SidecarClient {
  const { fetch = globalThis.fetch, headers = {} } = options;
  const transport = createGrpcWebTransport({
    baseUrl: url.replace(/\/+$/, ''),
    // Workers know no `redirect: 'error'`; a bridge redirects nobody.
    fetch: (input, init) => {
      const all = new Headers({ ...headers, ...Object.fromEntries(new Headers(init?.headers)) });
      return fetch(input, { ...init, headers: all, redirect: 'manual' });
    },
  });
  return {
    async *generate(request, options = {}) {
      if (options.signal?.aborted) throw cancelled(options.signal.reason);
      const left = leavingWith(options.signal);
      const { signal } = left;
      try {
        yield* stream(transport, generate, request, { ...options, signal }) as AsyncIterable<GenerateEvent>;
      } catch (error) {
        throw failure(error, signal);
      } finally {
        left.abort();
      }
    },
    listModels: async (options) =>
      ((await unary(transport, listModels, {}, options)) as unknown as { models: Model[] }).models,
    deviceInfo: async (options) => (await unary(transport, deviceInfo, {}, options)) as unknown as DeviceInfo,
    listNames: async (options) => (await unary(transport, listNames, {}, options)) as unknown as Names,
    preprocess: async (request, options) =>
      ((await unary(transport, preprocess, request, options)) as { hint: Image }).hint,
    close() {},
  };
}

async function* stream(
  transport: Transport,
  method: DescMethodStreaming & { methodKind: 'server_streaming' },
  request: object,
  options: CallOptions,
): AsyncIterable<object> {
  const input = (async function* () {
    yield toMessage(method.input, request as Record<string, unknown>);
  })();
  const { signal, timeoutMs } = options;
  const reply = await transport.stream(method, signal, timeoutMs, metadata(options), input);
  for await (const message of reply.message) yield plain(method, message);
}

async function unary(
  transport: Transport,
  method: DescMethodUnary<DescMessage, DescMessage>,
  request: object,
  options: CallOptions = {},
): Promise<object> {
  const { signal, timeoutMs } = options;
  try {
    const input = toMessage(method.input, request as Record<string, unknown>);
    const reply = await transport.unary(method, signal, timeoutMs, metadata(options), input);
    return plain(method, reply.message);
  } catch (error) {
    throw failure(error, signal);
  }
}

function plain(method: DescMethod, message: Message): object {
  return fromMessage(method.output, message);
}

function metadata({ requestId, idempotencyKey, trace }: CallOptions): HeadersInit {
  return {
    ...trace?.headers,
    ...(requestId && { [metadataKeys.requestId]: requestId }),
    ...(idempotencyKey && { [metadataKeys.idempotencyKey]: idempotencyKey }),
  };
}

function failure(error: unknown, signal: AbortSignal | undefined) {
  if (signal?.aborted) return cancelled(error);
  const { code, rawMessage, metadata } = ConnectError.from(error);
  // What `fetch` itself throws, and a reply that broke off, have no status of gRPC's.
  const status = code === Code.Unknown ? Code.Unavailable : code;
  return sidecarError({
    status,
    message: rawMessage,
    trailer: (key) => metadata.get(key) ?? undefined,
    cause: error,
  });
}
