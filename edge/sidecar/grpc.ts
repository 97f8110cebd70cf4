import {
  credentials,
  type CallOptions as GrpcCallOptions,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { diffusion, metadataKeys } from '../../proto/index.ts';
import {
  type CallOptions,
  type GenerateEvent,
  type GenerateRequest,
  type SidecarClient,
  SidecarError,
} from './client.ts';

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
        throw sidecarError(error as ServiceError);
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

    close: () => client.close(),
  };
}

type SidecarModels = Awaited<ReturnType<SidecarClient['listModels']>>;

function unary<T>(call: (done: (error: ServiceError | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(sidecarError(error)) : resolve(value!)));
  });
}

function metadata({ requestId }: CallOptions): Metadata {
  const metadata = new Metadata();
  if (requestId) metadata.set(metadataKeys.requestId, requestId);
  return metadata;
}

function callOptions({ timeoutMs }: CallOptions): GrpcCallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

function cancelled(cause: unknown): SidecarError {
  return new SidecarError('The request was cancelled', { code: 'cancelled', httpStatus: 499, cause });
}

/** What the sidecar put into its trailers; what the transport itself says where there are none. */
function sidecarError(error: ServiceError): SidecarError {
  const trailer = (key: string) => error.metadata?.get(key)[0]?.toString();
  const transport = transportErrors[error.code] ?? { code: 'internal', httpStatus: 500 };
  const retryAfterMs = trailer(metadataKeys.retryAfterMs);
  const code = trailer(metadataKeys.errorCode);
  return new SidecarError(code ? error.details : (transport.message ?? error.details), {
    code: code ?? transport.code,
    httpStatus: Number(trailer(metadataKeys.httpStatus)) || transport.httpStatus,
    field: trailer(metadataKeys.errorField),
    retryAfterMs: retryAfterMs === undefined ? undefined : Number(retryAfterMs),
    cause: error,
  });
}

const transportErrors: Record<number, { code: string; httpStatus: number; message?: string }> = {
  [status.CANCELLED]: { code: 'cancelled', httpStatus: 499, message: 'The request was cancelled' },
  [status.DEADLINE_EXCEEDED]: {
    code: 'deadline_exceeded',
    httpStatus: 504,
    message: 'The deadline passed before the images were done',
  },
  [status.UNAVAILABLE]: {
    code: 'sidecar_unreachable',
    httpStatus: 503,
    message: 'The sidecar cannot be reached',
  },
  [status.RESOURCE_EXHAUSTED]: { code: 'message_too_large', httpStatus: 500 },
};
