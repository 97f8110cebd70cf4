import {
  type ChannelCredentials,
  type ClientUnaryCall,
  credentials,
  type CallOptions as GrpcCallOptions,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { diffusion, metadataKeys } from '../../proto/index.ts';
import type {
  CallOptions,
  DeviceInfo,
  GenerateEvent,
  GenerateRequest,
  Image,
  SidecarClient,
  SidecarError,
} from './client.ts';
import { connecting } from './connecting.ts';
import { cancelled, sidecarError } from './failure.ts';
import { Refusals } from './refusals.ts';
import { requestDigest, toHex } from './request-digest.ts';
import { goElsewhere, goTogether, roundRobin } from './round-robin.ts';
import { closesSilent } from './silent-sockets.ts';

/** Ten images of 4096×4096 as PNG stay below it. */
const MAX_MESSAGE_BYTES = 1024 * 1024 * 1024;
/** On their way at once: with HTTP/2's own 64 KiB, a picture waits for the network's way there and back many times. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** How a sidecar is reached that asks who its callers are. */
export interface GrpcOptions {
  /** Sent with each call, as `authorization: Bearer`. */
  token?: string | undefined;
  tls?: GrpcTls | undefined;
  /**
   * Seconds without a word from a sidecar that a call waits for: then it is asked, and has half as long. Whoever takes a
   * connection has both together to say its first word, and up to four times as long when it has not before (meanwhile
   * no call waits for it). Default: 20.
   */
  keepalive?: number | undefined;
}

/** PEM. */
export interface GrpcTls {
  /** Of the authorities that the sidecar's certificate may come from; none: those that Node knows. */
  ca?: Buffer | undefined;
  /** What this edge shows of itself (mTLS). */
  cert?: Buffer | undefined;
  key?: Buffer | undefined;
  /** The name in the sidecar's certificate, where it is not that of the address. */
  serverName?: string | undefined;
}

/**
 * A sidecar behind gRPC, for Node.
 * @param address `HOST:PORT`, or a name that resolves to several of them: calls go round, and one for which there is no
 * room goes on to the next, until all that are ready have been asked.
 */
export function grpcSidecar(
  address: string,
  { token, tls, keepalive = 20 }: GrpcOptions = {},
): SidecarClient {
  const metadata = (options: CallOptions, beenTo: readonly string[] = [], name?: string) => {
    const sent = metadataOf(options, token);
    goElsewhere(sent, beenTo);
    if (name !== undefined) goTogether(sent, name);
    return sent;
  };
  const channelOptions = {
    // A client that is opened anew makes connections of its own.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc-node.flow_control_window': WINDOW_BYTES,
    'grpc.service_config': roundRobin,
    // A sidecar that was restarted is found again within seconds.
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 2000,
    // One whose machine is gone without a word is found out while a call waits for it.
    'grpc.keepalive_time_ms': 1000 * keepalive,
    'grpc.keepalive_timeout_ms': 500 * keepalive,
    ...(tls?.serverName && {
      'grpc.ssl_target_name_override': tls.serverName,
      'grpc.default_authority': tls.serverName,
    }),
  };
  const { client, close } = connecting(() => {
    const own = channelCredentials(tls);
    const closeSilent = closesSilent(own);
    const client = new diffusion(address, own, channelOptions);
    const close = () => {
      client.close();
      closeSilent();
    };
    return { client, close };
  }, 1500 * keepalive);

  /** @throws also where it has been closed since a refusal: that refusal. */
  const opened = (refusals: Refusals<string>) => {
    try {
      return client();
    } catch (error) {
      throw refusals.verdict(error);
    }
  };

  return {
    async *generate(request: GenerateRequest, options: CallOptions = {}): AsyncGenerator<GenerateEvent> {
      const refusals = new Refusals<string>();
      const within = callOptions(options);
      const name = options.isAgain ? undefined : await nameOf(request, options);
      for (;;) {
        if (options.signal?.aborted) throw cancelled(options.signal.reason);
        const call = opened(refusals).generate(request, metadata(options, refusals.all, name), within);
        const cancel = () => call.cancel();
        options.signal?.addEventListener('abort', cancel, { once: true });
        try {
          for await (const event of call) yield event;
          return;
        } catch (thrown) {
          const error = failure(thrown as ServiceError);
          if (!refusals.add(call.getPeer(), error)) throw refusals.verdict(error);
        } finally {
          options.signal?.removeEventListener('abort', cancel);
          call.cancel();
        }
      }
    },

    async listModels(options = {}) {
      const { models } = await unary<{ models: SidecarModels }>((done) =>
        client().listModels({}, metadata(options), callOptions(options), done),
      );
      return models;
    },

    // Of several behind one name, one that is ready, where there is one.
    async deviceInfo(options = {}) {
      const within = callOptions(options);
      const beenTo: string[] = [];
      let notReady: DeviceInfo | undefined;
      for (;;) {
        let call: ClientUnaryCall | undefined;
        try {
          const info = await unary<DeviceInfo>((done) => {
            call = client().deviceInfo({}, metadata(options, beenTo), within, done);
          });
          if (info.ready || beenTo.includes(call!.getPeer())) return info;
          notReady ??= info;
          beenTo.push(call!.getPeer());
        } catch (error) {
          if (notReady) return notReady;
          throw error;
        }
      }
    },

    listNames: (options = {}) =>
      unary((done) => client().listNames({}, metadata(options), callOptions(options), done)),

    async preprocess(request, options = {}) {
      const refusals = new Refusals<string>();
      const within = callOptions(options);
      for (;;) {
        let call: ClientUnaryCall | undefined;
        try {
          const { hint } = await unary<{ hint: Image | null }>((done) => {
            call = opened(refusals).preprocess(request, metadata(options, refusals.all), within, done);
          });
          return hint!;
        } catch (error) {
          if (!call || !refusals.add(call.getPeer(), error)) throw refusals.verdict(error);
        }
      }
    },

    close,
  };
}

type SidecarModels = Awaited<ReturnType<SidecarClient['listModels']>>;

function unary<T>(call: (done: (error: ServiceError | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(failure(error)) : resolve(value!)));
  });
}

function channelCredentials(tls: GrpcTls | undefined): ChannelCredentials {
  if (!tls) return credentials.createInsecure();
  return credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null);
}

function metadataOf({ requestId, idempotencyKey, trace }: CallOptions, token: string | undefined): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(trace?.headers ?? {})) if (value) metadata.set(name, value);
  if (token) metadata.set('authorization', `Bearer ${token}`);
  if (idempotencyKey) metadata.set(metadataKeys.idempotencyKey, idempotencyKey);
  if (requestId) metadata.set(metadataKeys.requestId, requestId);
  return metadata;
}

/**
 * What a request that may come again is known by: its key; with a seed, all that is asked for but the bytes of its
 * pictures, a digest of which would take time.
 */
async function nameOf(
  request: GenerateRequest,
  { idempotencyKey, isSeeded }: CallOptions,
): Promise<string | undefined> {
  if (idempotencyKey !== undefined || !isSeeded) return idempotencyKey;
  const { initImage: _, mask: __, ...rest } = request;
  const control = rest.control?.map(({ image: _, ...unit }) => unit) ?? [];
  return toHex(await requestDigest({ ...rest, control }));
}

function callOptions({ timeoutMs }: CallOptions): GrpcCallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

function failure(error: ServiceError): SidecarError {
  return sidecarError({
    status: error.code,
    message: error.details,
    trailer: (key) => error.metadata?.get(key)[0]?.toString(),
    cause: error,
  });
}
