import type { Trace } from '../../proto/tracing/index.ts';
import { ApiError, toApiError } from '../errors.ts';
import type { GenerateRequest, Image, Result, SidecarClient } from '../sidecar/client.ts';
import { whenTaken } from './when-taken.ts';

export type JobStatus = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled';

/** A request that goes on without its caller. */
export interface Job {
  readonly id: string;
  /** The caller's name: nobody else sees it. */
  readonly owner: string;
  /** What the edge itself has set aside. */
  readonly ignored: string[];
  readonly idempotencyKey?: string | undefined;
  /** What was asked for, as a hash: with the same key, nothing else may be. */
  readonly fingerprint?: string | undefined;
  /** Where its end is told. */
  readonly webhook?: string | undefined;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly finished: number | undefined;
  readonly isFinished: boolean;
  readonly status: JobStatus;
  readonly step: number;
  /** Denoising steps in all; 0: not known yet. */
  readonly total: number;
  readonly preview: Image | undefined;
  readonly error: ApiError | undefined;
  /** Of what it holds. */
  readonly bytes: number;
  /** What it made; undefined before its end, and of what has failed. */
  readonly result: Result | undefined;
  /** Stops the work within one denoising step; nothing, once it is finished. */
  cancel(): void;
}

export interface JobOptions
  extends Pick<Job, 'id' | 'owner' | 'ignored' | 'idempotencyKey' | 'fingerprint' | 'webhook'> {
  request: GenerateRequest;
  requestId: string | undefined;
  trace?: Trace | undefined;
  /** Whether the caller chose the seeds. */
  isSeeded?: boolean | undefined;
  timeoutMs: number;
  /** What spreads its tries (when-taken.ts). */
  random?: (() => number) | undefined;
}

/** One that this process runs, or has run. */
export class LiveJob implements Job {
  readonly id: string;
  readonly owner: string;
  readonly ignored: string[];
  readonly idempotencyKey: string | undefined;
  readonly fingerprint: string | undefined;
  readonly webhook: string | undefined;
  /** Of the pictures in its request, which it holds until its end. */
  readonly requestBytes: number;
  readonly created = Date.now();
  finished: number | undefined;
  status: JobStatus = 'queued';
  step = 0;
  total = 0;
  preview: Image | undefined;
  result: Result | undefined;
  error: ApiError | undefined;
  /** Settles, and never fails, when the job has come to its end. */
  readonly done: Promise<void>;
  readonly #left = new AbortController();

  constructor(
    sidecar: SidecarClient,
    { id, owner, request, ignored, fingerprint, webhook, ...options }: JobOptions,
  ) {
    this.id = id;
    this.owner = owner;
    this.ignored = ignored;
    this.idempotencyKey = options.idempotencyKey;
    this.fingerprint = fingerprint;
    this.webhook = webhook;
    this.requestBytes = pictureBytes(request);
    const events = whenTaken(sidecar, request, { ...options, signal: this.#left.signal });
    this.done = this.#follow(events);
  }

  get isFinished(): boolean {
    return this.finished !== undefined;
  }

  get bytes(): number {
    const images = this.result?.images ?? (this.preview ? [this.preview] : []);
    return images.reduce((sum, { data }) => sum + data.byteLength, 1024);
  }

  cancel(): void {
    if (this.isFinished) return;
    this.#end('cancelled');
    this.#left.abort();
  }

  async #follow(events: ReturnType<typeof whenTaken>): Promise<void> {
    try {
      for await (const { progress, result } of events) {
        if (this.isFinished) return;
        if (progress) {
          this.status = 'running';
          this.step = progress.step;
          this.total = progress.total;
          this.preview = progress.previews[0] ?? this.preview;
        }
        if (result) this.result = result;
      }
      if (!this.result) throw new ApiError(500, 'internal', 'The sidecar ended the call without a result');
      this.#end('succeeded');
    } catch (error) {
      if (this.isFinished) return;
      this.error = toApiError(error);
      this.#end('failed');
    }
  }

  #end(status: JobStatus): void {
    this.status = status;
    this.finished = Date.now();
    this.preview = undefined;
  }
}

/** Bytes of all pictures in a request, or in a part of one. */
export function pictureBytes(part: unknown): number {
  if (part instanceof Uint8Array) return part.byteLength;
  if (typeof part !== 'object' || part === null) return 0;
  return Object.values(part).reduce((sum: number, each) => sum + pictureBytes(each), 0);
}
