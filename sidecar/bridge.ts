import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, connect as connectSocket } from 'node:net';
import type { Tls } from './tls.ts';
import type { TokenCheck } from './token.ts';

// gRPC-Web (github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md) over HTTP/1.1 in front of a gRPC server, for callers
// that have `fetch` and no HTTP/2, as Workers. Messages are framed alike: bytes go through as they are, and the
// trailers, which HTTP/1.1's clients cannot read, become a last frame. It knows no method and no message.

export interface BridgeOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  /** The gRPC server: `http://127.0.0.1:50051`, or the path of its socket. */
  target: string;
  /** What is sent on to it as `authorization`, in place of the caller's. */
  authorization?: (() => string | undefined) | undefined;
  /** Whether an `authorization` is a caller's; none: nothing is asked for. */
  isCaller?: TokenCheck | undefined;
  /** Serves HTTPS. */
  tls?: Tls | undefined;
}

export interface RunningBridge {
  port: number;
  /** Takes no more connections; calls in flight go on. */
  close(): void;
  /** Serves HTTPS with these from now on, if it does. */
  renew(tls: Tls): void;
  /** Ends what is left. */
  destroy(): void;
}

const GRPC_WEB = /^application\/grpc-web(\+proto)?\s*(;|$)/i;
const UNAVAILABLE = 14;
const TRAILERS = 0x80;
/** Headers that belong to a connection, not to a call. */
const hopByHop = new Set(
  'connection keep-alive proxy-connection transfer-encoding upgrade te trailer host content-length content-type accept-encoding authorization'.split(
    ' ',
  ),
);

/** @throws Error when the address cannot be bound. */
export async function startBridge(options: BridgeOptions): Promise<RunningBridge> {
  const { host, port, target, authorization, isCaller, tls } = options;
  let session: ClientHttp2Session | undefined;
  const upstream = () => {
    if (!session || session.closed || session.destroyed) {
      session = target.startsWith('/')
        ? connect('http://localhost', { createConnection: () => connectSocket(target) })
        : connect(target);
      // Each call on it fails too, and says so.
      session.on('error', () => {});
      session.on('goaway', () => session?.close());
    }
    return session;
  };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const refusal = refuse(request, isCaller);
    if (refusal) {
      request.resume();
      return void response.writeHead(refusal).end();
    }
    forward(upstream(), request, response, authorization?.());
  };
  const server = tls ? createSecureServer(serverOptions(tls), answer) : createServer(answer);
  // Longer than clients keep connections for: none is closed under a request on its way.
  server.keepAliveTimeout = 120_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeIdleConnections();
    },
    renew: (renewed) => {
      if ('setSecureContext' in server) server.setSecureContext(serverOptions(renewed));
    },
    destroy: () => {
      server.close();
      server.closeAllConnections();
      session?.destroy();
    },
  };
}

/** The status to refuse a request with, if it is none of a caller's. */
function refuse({ method, headers }: IncomingMessage, isCaller: TokenCheck | undefined): number | undefined {
  // A browser: whatever page it shows has no business here.
  if (headers.origin !== undefined || headers['sec-fetch-site'] !== undefined) return 403;
  if (method !== 'POST') return 405;
  if (isCaller && !isCaller(headers.authorization)) return 401;
  return GRPC_WEB.test(headers['content-type'] ?? '') ? undefined : 415;
}

/** A client certificate is asked for, and has to be of the authority, where there is one. */
function serverOptions({ cert, key, clientCa }: Tls) {
  const mutual = clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  return { cert, key, minVersion: 'TLSv1.2' as const, ...mutual };
}

function forward(
  session: ClientHttp2Session,
  request: IncomingMessage,
  response: ServerResponse,
  authorization: string | undefined,
): void {
  const call = session.request({
    ...passed(request.headers),
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: request.url,
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    ...(authorization && { authorization }),
  });
  let trailers: IncomingHttpHeaders | undefined;
  call.on('response', (headers) => {
    response.writeHead(200, { ...passed(headers), 'content-type': 'application/grpc-web+proto' });
    response.flushHeaders();
  });
  call.on('trailers', (received) => {
    trailers = received;
  });
  call.on('data', (chunk: Buffer) => {
    if (!response.write(chunk)) call.pause();
  });
  response.on('drain', () => call.resume());
  // Not on 'trailers', which come before a slow reader has had all of the data.
  call.on('end', () => response.end(trailers ? trailerFrame(trailers) : undefined));
  call.on('error', () => {
    if (response.headersSent) response.destroy();
    else
      response
        .writeHead(200, { 'content-type': 'application/grpc-web+proto', 'grpc-status': UNAVAILABLE })
        .end();
  });
  response.on('close', () => {
    if (!response.writableFinished) call.close(constants.NGHTTP2_CANCEL);
  });
  request.on('error', () => call.close(constants.NGHTTP2_CANCEL));
  request.pipe(call);
}

function passed(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !name.startsWith(':') && !hopByHop.has(name)),
  );
}

/** One frame: a flag, four bytes of length, then header lines as in HTTP/1. */
function trailerFrame(trailers: IncomingHttpHeaders): Buffer {
  const lines = Object.entries(passed(trailers)).flatMap(([name, value]) =>
    [value].flat().map((each) => `${name}: ${each}\r\n`),
  );
  const text = Buffer.from(lines.join(''), 'latin1');
  const head = Buffer.alloc(5);
  head.writeUInt8(TRAILERS, 0);
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, text]);
}
