/** Milliseconds that a sidecar keeps the result of a request with an idempotency key. */
export const RESULT_KEPT_MS = 10 * 60_000;

/**
 * Metadata that travels beside the messages. A failed call carries, in its trailers, what an HTTP edge needs for
 * its answer without knowing the sidecar's errors. Beside these a request may have W3C's `traceparent` and
 * `tracestate` (docs/traces.md).
 */
export const metadataKeys = {
  /** Request: the caller's id for it, repeated in the sidecar's log. */
  requestId: 'x-request-id',
  /** Request: its name; with the same, the same request is not run again within ten minutes. 1…128 characters. */
  idempotencyKey: 'idempotency-key',
  /** Trailer: the error's code, `queue_full`; sidecar/errors.ts lists them. */
  errorCode: 'error-code',
  /** Trailer: the HTTP status that says the same. */
  httpStatus: 'http-status',
  /** Trailer: the field at fault, as the .proto spells it: `guidance_scale`. */
  errorField: 'error-field',
  /** Trailer of RESOURCE_EXHAUSTED and UNAVAILABLE: milliseconds to wait before trying again. */
  retryAfterMs: 'retry-after-ms',
} as const;
