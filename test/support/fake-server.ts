import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { SidecarError } from '../../edge/sidecar/client.ts';
import type { GenerateEvent } from '../../proto/gen/latentedge/v1/GenerateEvent.ts';
import type { GenerateRequest__Output } from '../../proto/gen/latentedge/v1/GenerateRequest.ts';
import { type DiffusionHandlers, diffusion, metadataKeys } from '../../proto/index.ts';
import { startBridge } from '../../sidecar/bridge.ts';
import { tokenCheck } from '../../sidecar/token.ts';
import type { FakeSidecar } from './fake-sidecar.ts';

export interface FakeServer {
  /** `127.0.0.1:PORT` of gRPC. */
  address: string;
  /** `http://127.0.0.1:PORT` of gRPC-Web. */
  webUrl: string;
  stop(): void;
}

export interface FakeServerOptions {
  token?: string;
  maxBytes?: number;
  port?: number;
  /** For gRPC: then gRPC-Web, which would reach it without, is not to be used. */
  tls?: { cert: Buffer; key: Buffer };
}

type GenerateCall = ServerWritableStream<GenerateRequest__Output, GenerateEvent>;

/** A fake sidecar over the wire: gRPC, and gRPC-Web through the real bridge. */
export async function serveFake(
  current: () => FakeSidecar,
  { token, maxBytes = 64 * 2 ** 20, port = 0, tls }: FakeServerOptions = {},
): Promise<FakeServer> {
  const server = new Server({ 'grpc.max_receive_message_length': maxBytes });
  // The edge calls none of the others.
  const handlers: Partial<DiffusionHandlers> = {
    Generate: (call) => void generate(current(), call),
    ListModels: (_, reply) => {
      current()
        .listModels()
        .then(
          (models) => reply(null, { models }),
          (error) => reply(statusOf(error)),
        );
    },
    ListNames: (_, reply) => {
      current()
        .listNames()
        .then(
          (names) => reply(null, names),
          (error) => reply(statusOf(error)),
        );
    },
    Preprocess: ({ request }, reply) => {
      current()
        .preprocess(request)
        .then(
          (hint) => reply(null, { hint }),
          (error) => reply(statusOf(error)),
        );
    },
    DeviceInfo: (_, reply) => {
      current()
        .deviceInfo()
        .then(
          (info) => reply(null, info),
          (error) => reply(statusOf(error)),
        );
    },
  };
  server.addService(diffusion.service, handlers as DiffusionHandlers);
  const credentials = tls
    ? ServerCredentials.createSsl(null, [{ cert_chain: tls.cert, private_key: tls.key }])
    : ServerCredentials.createInsecure();
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  const bridge = await startBridge({
    host: '127.0.0.1',
    port: 0,
    target: `http://127.0.0.1:${bound}`,
    isCaller: token === undefined ? undefined : tokenCheck([token]),
  });
  return {
    address: `127.0.0.1:${bound}`,
    webUrl: `http://127.0.0.1:${bridge.port}`,
    stop: () => {
      bridge.destroy();
      server.forceShutdown();
    },
  };
}

async function generate(sidecar: FakeSidecar, call: GenerateCall): Promise<void> {
  const left = new AbortController();
  call.on('cancelled', () => left.abort());
  const sent = (key: string) => call.metadata.get(key)[0]?.toString();
  const requestId = sent(metadataKeys.requestId);
  const idempotencyKey = sent(metadataKeys.idempotencyKey);
  const deadline = Number(call.getDeadline());
  const timeoutMs = Number.isFinite(deadline) ? deadline - Date.now() : undefined;
  try {
    const options = { signal: left.signal, requestId, idempotencyKey, timeoutMs };
    for await (const event of sidecar.generate(call.request, options)) call.write(event);
    call.end();
  } catch (error) {
    call.emit('error', statusOf(error));
  }
}

function statusOf(error: unknown): StatusObject {
  const metadata = new Metadata();
  if (!(error instanceof SidecarError)) return { code: status.INTERNAL, details: String(error), metadata };
  const { code, message, httpStatus, field, retryAfterMs } = error;
  metadata.set(metadataKeys.errorCode, code);
  metadata.set(metadataKeys.httpStatus, String(httpStatus));
  if (field) metadata.set(metadataKeys.errorField, field);
  if (retryAfterMs) metadata.set(metadataKeys.retryAfterMs, String(retryAfterMs));
  const found = { 400: status.INVALID_ARGUMENT, 429: status.RESOURCE_EXHAUSTED, 499: status.CANCELLED }[
    httpStatus
  ];
  return { code: found ?? status.FAILED_PRECONDITION, details: message, metadata };
}
