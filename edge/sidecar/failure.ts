import { metadataKeys } from '../../proto/metadata.ts';
import { SidecarError } from './client.ts';

/** A failed call as its transport tells of it. */
export interface Failure {
  /** gRPC's status number. */
  status: number;
  message: string;
  /** A text of the trailers, by its key. */
  trailer: (key: string) => string | undefined;
  cause: unknown;
}

/** What the sidecar put into its trailers; what the transport itself says where there are none. */
export function sidecarError({ status, message, trailer, cause }: Failure): SidecarError {
  // No fault of who asked the edge.
  if (status === UNAUTHENTICATED)
    return new SidecarError("The sidecar does not take the edge's token", {
      ...{ code: 'sidecar_refused', httpStatus: 502, cause },
    });
  const transport = transportErrors[status] ?? { code: 'internal', httpStatus: 500 };
  const retryAfterMs = trailer(metadataKeys.retryAfterMs);
  const code = trailer(metadataKeys.errorCode);
  return new SidecarError(code ? message : (transport.message ?? message), {
    code: code ?? transport.code,
    httpStatus: Number(trailer(metadataKeys.httpStatus)) || transport.httpStatus,
    field: trailer(metadataKeys.errorField),
    retryAfterMs: retryAfterMs === undefined ? undefined : Number(retryAfterMs),
    cause,
  });
}

export function cancelled(cause: unknown): SidecarError {
  return new SidecarError('The request was cancelled', { code: 'cancelled', httpStatus: 499, cause });
}

export function unreachable(): SidecarError {
  return sidecarError({ status: UNAVAILABLE, message: '', trailer: () => undefined, cause: undefined });
}

const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNAUTHENTICATED = 16;
const UNAVAILABLE = 14;

const transportErrors: Record<number, { code: string; httpStatus: number; message?: string }> = {
  [CANCELLED]: { code: 'cancelled', httpStatus: 499, message: 'The request was cancelled' },
  [DEADLINE_EXCEEDED]: {
    code: 'deadline_exceeded',
    httpStatus: 504,
    message: 'The deadline passed before the images were done',
  },
  [UNAVAILABLE]: {
    code: 'sidecar_unreachable',
    httpStatus: 503,
    message: 'The sidecar cannot be reached',
  },
  [RESOURCE_EXHAUSTED]: {
    code: 'message_too_large',
    httpStatus: 413,
    message: 'The request is larger than the sidecar takes',
  },
};
