import { ApiError } from '../errors.ts';
import type { SidecarClient } from '../sidecar/client.ts';
import { Job, type JobOptions } from './job.ts';

export interface JobLimits {
  /** Jobs, finished ones included. */
  count: number;
  /** Bytes of what finished ones hold. */
  bytes: number;
  /** Milliseconds that a finished one is kept. */
  keepMs: number;
}

export const defaultJobLimits: JobLimits = { count: 1000, bytes: 256 * 2 ** 20, keepMs: 3_600_000 };

/** The jobs of this process, in memory: they end with it. */
export class JobStore {
  readonly #jobs = new Map<string, Job>();
  readonly #sidecar: SidecarClient;
  readonly #limits: JobLimits;

  constructor(sidecar: SidecarClient, limits: JobLimits = defaultJobLimits) {
    this.#sidecar = sidecar;
    this.#limits = limits;
  }

  /**
   * The job that an idempotency key stands for, as long as it is kept.
   * @throws ApiError where that was asked for something else.
   */
  again(key: string | undefined, fingerprint: string): Job | undefined {
    if (key === undefined) return undefined;
    this.#tidy();
    const job = [...this.#jobs.values()].find(({ idempotencyKey }) => idempotencyKey === key);
    if (!job || job.fingerprint === fingerprint) return job;
    const message = 'Expected the same request as before with this Idempotency-Key but received another';
    throw new ApiError(422, 'idempotency_conflict', message, { param: 'Idempotency-Key' });
  }

  /** @throws ApiError where there are as many under way as there may be. */
  start(options: Omit<JobOptions, 'id'>): Job {
    this.#tidy();
    while (this.#jobs.size >= this.#limits.count)
      if (!this.#drop(() => 1))
        throw new ApiError(
          429,
          'too_many_jobs',
          `There are ${this.#jobs.size} jobs under way, as many as there may be`,
          {
            retryAfterMs: 5000,
          },
        );
    const job = new Job(this.#sidecar, { ...options, id: newId() });
    this.#jobs.set(job.id, job);
    void job.done.then(() => this.#tidy());
    return job;
  }

  /** The owner's own; what is another's is not there. */
  find(id: string, owner: string): Job | undefined {
    this.#tidy();
    const job = this.#jobs.get(id);
    return job?.owner === owner ? job : undefined;
  }

  #tidy(): void {
    const oldest = Date.now() - this.#limits.keepMs;
    let bytes = 0;
    for (const job of this.#jobs.values()) {
      if (job.finished !== undefined && job.finished <= oldest) this.#jobs.delete(job.id);
      else if (job.isFinished) bytes += job.bytes;
    }
    while (bytes > this.#limits.bytes) bytes -= this.#drop((job) => job.bytes)?.bytes ?? bytes;
  }

  /**
   * Of whoever's finished jobs weigh the most, the one that was finished first: nobody's are pushed out by another's
   * while that one has more of them.
   */
  #drop(weightOf: (job: Job) => number): Job | undefined {
    const finished = [...this.#jobs.values()].filter((job) => job.isFinished);
    const weights = new Map<string, number>();
    for (const job of finished) weights.set(job.owner, (weights.get(job.owner) ?? 0) + weightOf(job));
    const most = Math.max(...weights.values());
    const [oldest] = finished
      .filter(({ owner }) => weights.get(owner) === most)
      .toSorted((a, b) => a.finished! - b.finished!);
    if (oldest) this.#jobs.delete(oldest.id);
    return oldest;
  }
}

/** 192 random bits: nobody guesses another's. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return `job_${btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')}`;
}
