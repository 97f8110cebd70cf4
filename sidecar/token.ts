import { createHash, timingSafeEqual } from 'node:crypto';
import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from '@grpc/grpc-js';
import { metadataKeys } from '../proto/metadata.ts';
import { errorCodes } from './errors.ts';

/** Whether an `authorization` is that of a caller. */
export type TokenCheck = (authorization: string | undefined) => boolean;

/** Characters of a token, at least: shorter ones can be guessed. */
export const MIN_TOKEN = 16;

/**
 * Holds `authorization: Bearer TOKEN` against the tokens that are known, all of them, each in constant time. Of each
 * only its SHA-256 is looked at, so that lengths take no time either.
 */
export function tokenCheck(tokens: readonly string[]): TokenCheck {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const known = tokens.map((token) => digest(`Bearer ${token}`));
  return (authorization) => {
    const received = digest(authorization ?? '');
    return known.filter((each) => timingSafeEqual(each, received)).length > 0;
  };
}

/** Those who may call, as they are at the moment. */
export class Callers {
  #tokens: readonly string[];
  #check: TokenCheck;

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
    this.#check = tokenCheck(tokens);
  }

  readonly isCaller: TokenCheck = (authorization) => this.#check(authorization);

  /** What a caller may send; undefined where nobody is asked. */
  authorization(): string | undefined {
    return this.#tokens[0] && `Bearer ${this.#tokens[0]}`;
  }

  get areAsked(): boolean {
    return this.#tokens.length > 0;
  }

  renew(tokens: readonly string[]): void {
    this.#tokens = tokens;
    this.#check = tokenCheck(tokens);
  }
}

/** Health is open: what asks for it, as Kubernetes' probes do, can send no token. */
const isOpen = (path: string) => path.startsWith('/grpc.health.v1.Health/');

/** Ends calls of all services with UNAUTHENTICATED that bring no token; their messages are not read. */
export function askForToken(isCaller: TokenCheck): ServerInterceptor {
  return ({ path }, call) => {
    if (isOpen(path)) return new ServerInterceptingCall(call);
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        if (isCaller(metadata.get('authorization')[0]?.toString())) return next(metadata);
        call.sendStatus(refusal());
      })
      .build();
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };
}

function refusal() {
  const metadata = new Metadata();
  metadata.set(metadataKeys.errorCode, 'unauthenticated');
  metadata.set(metadataKeys.httpStatus, String(errorCodes.unauthenticated.http));
  const details = 'Expected authorization: Bearer with a token of this sidecar';
  return { code: status.UNAUTHENTICATED, details, metadata };
}
