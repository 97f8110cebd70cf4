import { credentials, type CallOptions as GrpcCallOptions, Metadata, type ServiceError } from '@grpc/grpc-js';
import { diffusion, metadataKeys } from '../../proto/index.ts';
import type {
  CallOptions,
  GenerateEvent,
  GenerateRequest,
  Image,
  SidecarClient,
  SidecarError,
} from './client.ts';
import { cancelled, sidecarError } from './failure.ts';

/** Ten images of 4096×4096 as PNG stay below it. */
const MAX_MESSAGE_BYTES = 1024 * 1024 * 1024;

/**
 * A sidecar behind gRPC, for Node.
 * @param address `HOST:PORT`, or a name that resolves to several of them: calls go round.
 */
export function grpcSidecar(address: string): SidecarClient {
  const client = new diffusion(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    // A sidecar that was restarted is found again within seconds.
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 2000,
  });

  return {
    async *generate(request: GenerateRequest, options: CallOptions = {}): AsyncGenerator<GenerateEvent> {
      if (options.signal?.aborted) throw cancelled(options.signal.reason);
      const call = client.generate(request, metadata(options), callOptions(options));
      const cancel = () => call.cancel();
      options.signal?.addEventListener('abort', cancel, { once: true });
      try {
        for await (const event of call) yield event;
      } catch (error) {
        throw failure(error as ServiceError);
      } finally {
        options.signal?.removeEventListener('abort', cancel);
        call.cancel();
      }
    },

    async listModels(options = {}) {
      const { models } = await unary<{ models: SidecarModels }>((done) =>
        client.listModels({}, metadata(options), callOptions(options), done),
      );
      return models;
    },

    deviceInfo: (options = {}) =>
      unary((done) => client.deviceInfo({}, metadata(options), callOptions(options), done)),

    listNames: (options = {}) =>
      unary((done) => client.listNames({}, metadata(options), callOptions(options), done)),

    async preprocess(request, options = {}) {
      const { hint } = await unary<{ hint: Image | null }>((done) =>
        client.preprocess(request, metadata(options), callOptions(options), done),
      );
      return hint!;
    },

    close: () => client.close(),
  };
}

type SidecarModels = Awaited<ReturnType<SidecarClient['listModels']>>;

function unary<T>(call: (done: (error: ServiceError | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(failure(error)) : resolve(value!)));
  });
}

function metadata({ requestId, idempotencyKey }: CallOptions): Metadata {
  const metadata = new Metadata();
  if (idempotencyKey) metadata.set(metadataKeys.idempotencyKey, idempotencyKey);
  if (requestId) metadata.set(metadataKeys.requestId, requestId);
  return metadata;
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
