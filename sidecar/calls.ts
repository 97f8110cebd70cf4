import { setMaxListeners } from 'node:events';
import { Metadata, type ServerUnaryCall, type StatusObject, status } from '@grpc/grpc-js';
import { metadataKeys } from '../proto/metadata.ts';
import type { Tracing } from '../proto/tracing/index.ts';
import type { OnStage } from './engine/stage.ts';
import { errorCodes, errors, type ServiceError, toServiceError } from './errors.ts';
import { callSpan, endSpan, stagesOf } from './tracing.ts';

/** A call that has been answered. */
export interface CallLog {
  requestId: string;
  method: string;
  /** `ok`, or an error's code. */
  code: string;
  ms: number;
  /** Of a request that was run: model, size, steps. */
  what?: string;
  /** Only where the operator wants them in the log. */
  prompts?: Prompts;
  error?: ServiceError;
}

export interface Prompts {
  prompt: string;
  negativePrompt: string;
}

/** What all kinds of server calls have. */
export type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'on' | 'getDeadline'>;

/** What the work of a call is given. */
export interface Attended {
  requestId: string;
  /** The caller has left, the deadline has passed, or the sidecar is being stopped. */
  signal: AbortSignal;
  /** When the caller stops waiting, milliseconds since 1970; undefined: never. */
  deadline: number | undefined;
  /** Puts the stages of the work into the call's trace; none: there is no trace. */
  onStage: OnStage | undefined;
  /** Of the call's span; none likewise. */
  traceparent: string | undefined;
  /** For the log: model, size, steps. */
  note(what: string): void;
  /** For the log of an operator who wants them. */
  say(prompts: Prompts): void;
}

export interface CallsOptions {
  log?: ((entry: CallLog) => void) | undefined;
  /** Ends the calls in flight, when they have had their time. */
  stopping?: AbortSignal | undefined;
  tracing?: Tracing | undefined;
  /** An error's message for those who are not on this machine. */
  publicMessage(message: string): Promise<string>;
}

/** Of methods that make no work, and are asked again and again. */
export const isLook = (method: string) => looks.has(method);
const looks = new Set(['ListModels', 'DeviceInfo', 'ListNames']);

/** The calls in flight: what ends them, and what is said of them. */
export class Calls {
  readonly #options: CallsOptions;
  #running = 0;
  #idle: (() => void)[] = [];

  constructor(options: CallsOptions) {
    this.#options = options;
    // One listener for each call in flight.
    if (options.stopping) setMaxListeners(0, options.stopping);
  }

  /** Until no call is in flight. */
  idle(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /**
   * Runs the work of a call until it is done, or the call has ended.
   * @throws StatusObject to answer the call with.
   */
  async attend<T>(method: string, call: AnyCall, work: (attended: Attended) => Promise<T>): Promise<T> {
    const { log = () => {}, stopping, tracing, publicMessage } = this.#options;
    const began = performance.now();
    const requestId = call.metadata.get(metadataKeys.requestId)[0]?.toString().slice(0, 128) || '-';
    const span = tracing && !isLook(method) ? callSpan(tracing, method, requestId, call) : undefined;
    const left = new AbortController();
    const said: Pick<CallLog, 'what' | 'prompts'> = {};
    let stop = () => {};
    // Answered at once: the step under way may take longer than there is time for.
    const stopped = new Promise<never>((_, reject) => {
      stop = () => {
        left.abort(stopping!.reason);
        reject(stopping!.reason);
      };
    });
    stopping?.addEventListener('abort', stop);
    call.on('cancelled', () =>
      left.abort(deadlinePassed(call) ? errors.deadlineExceeded() : errors.cancelled()),
    );
    const note = (text: string) => {
      said.what = text;
    };
    const say = (prompts: Prompts) => {
      said.prompts = prompts;
    };
    const done = (code: string, error?: ServiceError) => {
      log({ requestId, method, code, ms: performance.now() - began, ...said, ...(error && { error }) });
      if (span) endSpan(span, { code, ...said });
    };
    this.#running++;
    try {
      const result = await Promise.race([
        work({
          ...{ requestId, signal: left.signal, deadline: deadlineOf(call), note, say },
          ...{ onStage: span && stagesOf(span), traceparent: span?.headers.traceparent },
        }),
        stopped,
      ]);
      done('ok');
      return result;
    } catch (thrown) {
      const error = toServiceError(thrown);
      done(error.code, error);
      throw statusOf(error, await publicMessage(error.publicMessage));
    } finally {
      stopping?.removeEventListener('abort', stop);
      // What is to be answered is on its way when those who wait for this go on.
      if (--this.#running === 0) for (const resolve of this.#idle.splice(0)) setImmediate(resolve);
    }
  }
}

/** An error as a call's status, with what an HTTP edge needs of it in the trailers. */
function statusOf({ code, field, retryAfterMs }: ServiceError, message: string): StatusObject {
  const { grpc, http } = errorCodes[code];
  const metadata = new Metadata();
  metadata.set(metadataKeys.errorCode, code);
  metadata.set(metadataKeys.httpStatus, String(http));
  if (field) metadata.set(metadataKeys.errorField, field);
  if (retryAfterMs) {
    metadata.set(metadataKeys.retryAfterMs, String(retryAfterMs));
    // What gRPC's own retries keep to (gRFC A6).
    metadata.set('grpc-retry-pushback-ms', String(retryAfterMs));
  }
  return { code: status[grpc], details: message, metadata };
}

/** Milliseconds since 1970; undefined where the caller set none. */
function deadlineOf(call: AnyCall): number | undefined {
  const deadline = Number(call.getDeadline());
  return Number.isFinite(deadline) ? deadline : undefined;
}

function deadlinePassed(call: AnyCall): boolean {
  return (deadlineOf(call) ?? Number.POSITIVE_INFINITY) <= Date.now();
}
