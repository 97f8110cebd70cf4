import { readFileSync } from 'node:fs';
import { type Environment, flag, text, wholeNumber } from '../config.ts';
import type { GrpcOptions } from './grpc.ts';

/**
 * What an edge on Node shows its sidecars, and asks of them: a token, certificates.
 * @throws Error saying which setting is wrong.
 */
export function readSidecarOptions(env: Environment): GrpcOptions {
  const file = (name: string) => {
    const path = text(env, name);
    return path === undefined ? undefined : read(path, name);
  };
  const [ca, cert, key] = ['SIDECAR_CA', 'SIDECAR_CERT', 'SIDECAR_KEY'].map(file);
  if ((cert === undefined) !== (key === undefined))
    throw new Error('expected both SIDECAR_CERT and SIDECAR_KEY but received one of them');
  const serverName = text(env, 'SIDECAR_SERVER_NAME');
  const isTls = ca !== undefined || cert !== undefined || flag(env, 'SIDECAR_TLS');
  // Of several tokens, which a sidecar takes while one follows another, the first.
  const [fromFile] = (file('SIDECAR_TOKEN_FILE')?.toString('utf8') ?? '').trim().split(/\s+/);
  return {
    token: text(env, 'SIDECAR_TOKEN') ?? (fromFile || undefined),
    tls: isTls ? { ca, cert, key, serverName } : undefined,
    keepalive: Math.max(1, wholeNumber(env, 'SIDECAR_KEEPALIVE', 20, 7200)),
  };
}

const fileSettings = ['SIDECAR_TOKEN_FILE', 'SIDECAR_CA', 'SIDECAR_CERT', 'SIDECAR_KEY'];

/** The files that this is read from. */
export function sidecarFiles(env: Environment): string[] {
  return fileSettings.flatMap((name) => text(env, name) ?? []);
}

function read(path: string, name: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Error(`expected a file for ${name}: ${(error as Error).message}`);
  }
}
