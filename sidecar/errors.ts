import { CheckpointError } from './checkpoints/error.ts';
import { nativeCode } from './native.ts';

/** Every error a caller can be answered with: its gRPC status, the HTTP status that says the same, when it occurs. */
export const errorCodes = {
  invalid_argument: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    when: 'A field is missing, of the wrong type or out of range.',
  },
  unauthenticated: {
    grpc: 'UNAUTHENTICATED',
    http: 401,
    when: "The caller's token is missing, or none of the sidecar's.",
  },
  model_not_found: { grpc: 'NOT_FOUND', http: 404, when: 'No model of that name is here.' },
  adapter_not_found: { grpc: 'NOT_FOUND', http: 404, when: 'No adapter of that name is here.' },
  controlnet_not_found: { grpc: 'NOT_FOUND', http: 404, when: 'No ControlNet of that name is here.' },
  checkpoint_unusable: {
    grpc: 'FAILED_PRECONDITION',
    http: 422,
    when: 'A file of the checkpoint is missing, damaged or of an unsupported kind.',
  },
  not_finite: {
    grpc: 'FAILED_PRECONDITION',
    http: 422,
    when: 'The checkpoint computes NaN or infinity for this request.',
  },
  idempotency_conflict: {
    grpc: 'ALREADY_EXISTS',
    http: 422,
    when: 'The idempotency key stands for another request.',
  },
  queue_full: {
    grpc: 'RESOURCE_EXHAUSTED',
    http: 429,
    when: 'As many requests wait as may wait, or they hold as much.',
  },
  cancelled: { grpc: 'CANCELLED', http: 499, when: 'The caller left.' },
  deadline_exceeded: {
    grpc: 'DEADLINE_EXCEEDED',
    http: 504,
    when: "The request's deadline passed, or is too near.",
  },
  shutting_down: { grpc: 'UNAVAILABLE', http: 503, when: 'The sidecar is being stopped.' },
  device_lost: {
    grpc: 'UNAVAILABLE',
    http: 503,
    when: 'The device failed for good, and no other is left that the request fits on.',
  },
  out_of_memory: {
    grpc: 'UNAVAILABLE',
    http: 503,
    when: 'The device or this machine has no memory left for the request.',
  },
  internal: { grpc: 'INTERNAL', http: 500, when: 'A fault of the sidecar itself; its log says more.' },
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface ErrorDetails {
  /** The field at fault, as the .proto spells it. */
  field?: string;
  /** Milliseconds after which trying again makes sense. */
  retryAfterMs?: number;
  /** For those who are not on this machine, where that is another; default: the message. */
  publicMessage?: string;
  cause?: unknown;
}

/** An error with a code of `errorCodes`; its message is meant for the caller. */
export class ServiceError extends Error {
  override name = 'ServiceError';
  readonly code: ErrorCode;
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly publicMessage: string;

  constructor(
    code: ErrorCode,
    message: string,
    { field, retryAfterMs, publicMessage = message, cause }: ErrorDetails = {},
  ) {
    super(message, { cause });
    this.publicMessage = publicMessage;
    this.code = code;
    this.field = field;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The messages, in one place. */
export const errors = {
  /** @param received the value itself. */
  invalidArgument: (field: string, expected: string, received: unknown) =>
    errors.unexpected(field, expected, show(received)),
  /** @param received in words. */
  unexpected: (field: string, expected: string, received: string) =>
    new ServiceError('invalid_argument', `Expected ${expected} for ${field} but received ${received}`, {
      field,
    }),
  modelNotFound: (name: string, names: readonly string[], field = 'model') =>
    new ServiceError(
      'model_not_found',
      `Expected ${oneOf(names, 'a model')} for ${field} but received ${show(name)}: there is no such model here`,
      { field },
    ),
  /** @param others words that stand for no AutoencoderTiny: `model`, `linear`. */
  decoderNotFound: (field: string, name: string, others: readonly string[], names: readonly string[]) =>
    new ServiceError(
      'model_not_found',
      `Expected ${names.length > 0 ? `one of ${[...others, ...names].join(', ')}` : `${others.join(', ')} or an AutoencoderTiny`} for ${field} but received ${show(name)}: there is no such AutoencoderTiny here`,
      { field },
    ),
  /** @param folders where it was looked for. */
  adapterNotFound: (name: string, names: readonly string[], folders: readonly string[]) => {
    const message = `Expected ${oneOf(names, 'an adapter')} for adapters but received ${show(name)}: there is no such adapter`;
    return new ServiceError('adapter_not_found', `${message} in ${folders.join(' or ')}`, {
      ...{ field: 'adapters', publicMessage: `${message} here` },
    });
  },
  controlNetNotFound: (field: string, name: string, names: readonly string[]) =>
    new ServiceError(
      'controlnet_not_found',
      `Expected ${oneOf(names, 'a ControlNet')} for ${field} but received ${show(name)}: there is no such ControlNet here`,
      { field },
    ),
  noModels: () =>
    new ServiceError(
      'model_not_found',
      'There is no model here: name a folder with --model, or a folder of them in LATENT_EDGE_MODELS',
    ),
  checkpointUnusable: (message: string, cause?: unknown) =>
    new ServiceError('checkpoint_unusable', message, { cause }),
  notFinite: (what: string, model: string) =>
    new ServiceError(
      'not_finite',
      `Expected finite numbers in ${what} but the weights of ${model} give NaN or infinity`,
    ),
  idempotencyConflict: () =>
    new ServiceError(
      'idempotency_conflict',
      'Expected a new idempotency key for another request but received one that stands for an earlier request',
      { field: 'Idempotency-Key' },
    ),
  queueFull: (waiting: number, retryAfterMs: number) =>
    new ServiceError(
      'queue_full',
      `The queue is full: ${waiting === 1 ? '1 request is' : `${waiting} requests are`} waiting; ${again(retryAfterMs)}`,
      { retryAfterMs },
    ),
  /** @param own bytes of the request's pictures and tensors; `together`: with those that wait; `most`: that may be. */
  queueHoldsTooMuch: (own: number, together: number, most: number, retryAfterMs: number) =>
    new ServiceError(
      'queue_full',
      `The queue is full: this request has ${mebibytes(own)} of pictures and tensors, with those that wait ${mebibytes(together)}, and there is room for ${mebibytes(most)}; ${again(retryAfterMs)}`,
      { retryAfterMs },
    ),
  cancelled: (cause?: unknown) => new ServiceError('cancelled', 'The request was cancelled', { cause }),
  deadlineExceeded: () =>
    new ServiceError('deadline_exceeded', 'The deadline passed before the images were done'),
  /** @param waitMs until the request could begin; trying again makes sense then. */
  deadlineTooNear: (leftMs: number, workMs: number, waitMs: number) =>
    new ServiceError(
      'deadline_exceeded',
      `Expected a deadline that can be met, but it is in ${seconds(Math.max(0, leftMs))} and the request takes about ${seconds(workMs)}${waitMs > 0 ? `, ${seconds(waitMs)} from now` : ''}`,
      waitMs > 0 ? { retryAfterMs: Math.round(waitMs) } : {},
    ),
  shuttingDown: () =>
    new ServiceError('shutting_down', 'The sidecar is shutting down', { retryAfterMs: 1000 }),
  deviceLost: (cause?: unknown) =>
    new ServiceError(
      'device_lost',
      'The device that the request was on failed for good, and there is no other for it here',
      { retryAfterMs: 5000, cause },
    ),
  outOfMemory: (cause: unknown) =>
    new ServiceError(
      'out_of_memory',
      `There is not enough memory for this request: ${(cause as Error).message}`,
      { retryAfterMs: 5000, cause },
    ),
  /** For a request that never fits, so that trying it again makes no sense. */
  neverFits: (message: string) => new ServiceError('out_of_memory', message),
  internal: (cause: unknown) =>
    new ServiceError('internal', 'An internal error occurred; the log of the sidecar has details', { cause }),
};

/** The names, or what they would be names of. */
function oneOf(names: readonly string[], what: string): string {
  return names.length > 0 ? `one of ${names.join(', ')}` : what;
}

function again(retryAfterMs: number): string {
  return `try again in ${Math.ceil(retryAfterMs / 1000)} s`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toPrecision(2))} s`;
}

/** Whatever was thrown, as the error to answer with. */
export function toServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  if (error instanceof CheckpointError) return errors.checkpointUnusable(error.message, error);
  if (error instanceof Error && error.name === 'AbortError') return errors.cancelled(error);
  if (nativeCode(error) === 'ERR_OUT_OF_MEMORY') return errors.outOfMemory(error);
  if (nativeCode(error) === 'ERR_DEVICE_LOST') return errors.deviceLost(error);
  if (error instanceof RangeError && /allocation failed/i.test(error.message))
    return errors.outOfMemory(error);
  return errors.internal(error);
}

/** A value as an error message shows it: short, on one line, no control characters. */
export function show(value: unknown): string {
  if (value === undefined || value === '') return 'nothing';
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : typeof value === 'object'
        ? JSON.stringify(value)
        : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}… (${text.length} characters)` : text;
}
