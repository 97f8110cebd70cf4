import { ServerCredentials } from '@grpc/grpc-js';

/** PEM. */
export interface Tls {
  /** The server's certificate, and those between it and the authority's. */
  cert: Buffer;
  key: Buffer;
  /** Of the authorities whose clients are let in (mTLS); none: no certificate is asked for. */
  clientCa?: Buffer | undefined;
}

/** Of a server that goes on listening when its certificates are renewed: new connections see the new ones. */
class TlsCredentials extends ServerCredentials {
  constructor(tls: Tls) {
    super({ requestCert: tls.clientCa !== undefined }, contextOf(tls));
  }

  renew(tls: Tls): void {
    this.updateSecureContextOptions(contextOf(tls));
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

export interface RenewableCredentials {
  credentials: ServerCredentials;
  renew(tls: Tls | undefined): void;
}

export function serverCredentials(tls: Tls | undefined): RenewableCredentials {
  if (!tls) return { credentials: ServerCredentials.createInsecure(), renew() {} };
  const credentials = new TlsCredentials(tls);
  return { credentials, renew: (renewed) => renewed && credentials.renew(renewed) };
}

function contextOf({ cert, key, clientCa }: Tls) {
  return { cert, key, ...(clientCa && { ca: clientCa }), minVersion: 'TLSv1.2' as const };
}
