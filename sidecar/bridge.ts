import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { AddressInfo } from 'node:net';

// gRPC-Web (github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md) over HTTP/1.1 in front of a gRPC server, for callers
// that have `fetch` and no HTTP/2, as Workers. Messages are framed alike: bytes go through as they are, and the
// trailers, which HTTP/1.1's clients cannot read, become a last frame. It knows no method and no message.

export interface BridgeOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  /** The gRPC server, `http://127.0.0.1:50051`. */
  target: string;
  /** What callers have to send as `authorization: Bearer`; none: nothing is asked for. */
  token?: string | undefined;
}

export interface RunningBridge {
  port: number;
  /** Takes no more connections; calls in flight go on. */
  close(): void;
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
export async function startBridge({ host, port, target, token }: BridgeOptions): Promise<RunningBridge> {
  let session: ClientHttp2Session | undefined;
  const upstream = () => {
    if (!session || session.closed || session.destroyed) {
      session = connect(target);
      // Each call on it fails too, and says so.
      session.on('error', () => {});
      session.on('goaway', () => session?.close());
    }
    return session;
  };
  const server = createServer((request, response) => {
    const refusal = refuse(request, token);
    if (refusal) {
      request.resume();
      return void response.writeHead(refusal).end();
    }
    forward(upstream(), request, response);
  });
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
    destroy: () => {
      server.close();
      server.closeAllConnections();
      session?.destroy();
    },
  };
}

/** The status to refuse a request with, if it is none of a caller's. */
function refuse({ method, headers }: IncomingMessage, token: string | undefined): number | undefined {
  // A browser: whatever page it shows has no business here.
  if (headers.origin !== undefined || headers['sec-fetch-site'] !== undefined) return 403;
  if (method !== 'POST') return 405;
  if (token !== undefined && !sameText(headers.authorization ?? '', `Bearer ${token}`)) return 401;
  return GRPC_WEB.test(headers['content-type'] ?? '') ? undefined : 415;
}

function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function forward(session: ClientHttp2Session, request: IncomingMessage, response: ServerResponse): void {
  const call = session.request({
    ...passed(request.headers),
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: request.url,
    'content-type': 'application/grpc+proto',
    te: 'trailers',
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
