import { readFileSync } from 'node:fs';
import type { ServeOptions } from '../main.ts';
import type { Tls } from '../tls.ts';
import { MIN_TOKEN } from '../token.ts';
import type { Settings } from './table.ts';

/** Who is let in, at the gRPC port and at that of gRPC-Web. */
export type Access = Pick<ServeOptions, 'tokens' | 'tls' | 'web'>;

/**
 * Reads tokens and certificates, and refuses to listen where other machines reach it and nobody is asked who they are.
 * @throws Error saying which setting is missing or wrong.
 */
export function readAccess(settings: Settings): Access {
  const { token, token_file, web_token, web_port, web_host, host, allow_anonymous } = settings;
  const tokens = [
    ...(token === undefined ? [] : checked([token], 'GRPC_TOKEN')),
    ...(token_file === undefined ? [] : checked(linesOf(token_file), token_file)),
  ];
  const tls = readTls(settings);
  const webTokens = web_token === undefined ? undefined : checked([web_token], 'GRPC_WEB_TOKEN');
  const web = web_port === undefined ? undefined : { host: web_host, port: web_port, tokens: webTokens };
  const isOpen = (asked: readonly string[]) => asked.length === 0 && !tls?.clientCa && !allow_anonymous;
  const remote = 'or certificates of clients (GRPC_TLS_CLIENT_CA), or GRPC_ALLOW_ANONYMOUS=true';
  if (!isLoopback(host) && isOpen(tokens))
    throw new Error(
      `Expected a token (GRPC_TOKEN, GRPC_TOKEN_FILE), ${remote}, as other machines reach ${host}, but received nothing`,
    );
  if (web && !isLoopback(web.host) && isOpen(webTokens ?? tokens))
    throw new Error(
      `Expected a token (GRPC_WEB_TOKEN, GRPC_TOKEN), ${remote}, as other machines reach ${web.host}, but received nothing`,
    );
  return { tokens, tls, web };
}

/** 127.0.0.0/8 and ::1; of names, `localhost` alone. */
export function isLoopback(host: string): boolean {
  return /^(127(\.\d{1,3}){3}|::1|localhost)$/i.test(host);
}

function readTls({ tls_cert, tls_key, tls_client_ca }: Settings): Tls | undefined {
  if (tls_cert === undefined && tls_key === undefined && tls_client_ca === undefined) return undefined;
  if (tls_cert === undefined || tls_key === undefined)
    throw new Error(
      'Expected both GRPC_TLS_CERT and GRPC_TLS_KEY, as one of them or GRPC_TLS_CLIENT_CA is set, but received one or none',
    );
  return {
    cert: read(tls_cert, 'GRPC_TLS_CERT'),
    key: read(tls_key, 'GRPC_TLS_KEY'),
    clientCa: tls_client_ca === undefined ? undefined : read(tls_client_ca, 'GRPC_TLS_CLIENT_CA'),
  };
}

function read(file: string, what: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Error(`Expected a file for ${what}: ${(error as Error).message}`);
  }
}

function linesOf(file: string): string[] {
  const lines = read(file, 'GRPC_TOKEN_FILE').toString('utf8').split('\n');
  return lines.map((line) => line.trim()).filter((line) => line !== '');
}

function checked(tokens: string[], where: string): string[] {
  if (tokens.length > 0 && tokens.every((token) => token.length >= MIN_TOKEN && /^[!-~]+$/.test(token)))
    return tokens;
  throw new Error(`Expected tokens of ${MIN_TOKEN} visible ASCII characters at least in ${where}`);
}
