import { ServerCredentials } from '@grpc/grpc-js';

/** PEM. */
export interface Tls {
  /** The server's certificate, and those between it and the authority's. */
  cert: Buffer;
  key: Buffer;
  /** Of the authorities whose clients are let in (mTLS); none: no certificate is asked for. */
  clientCa?: Buffer | undefined;
}

export function serverCredentials(tls: Tls | undefined): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure();
  const { cert, key, clientCa } = tls;
  const pair = [{ cert_chain: cert, private_key: key }];
  return ServerCredentials.createSsl(clientCa ?? null, pair, clientCa !== undefined);
}
