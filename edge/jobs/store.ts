import { ApiError } from '../errors.ts';
import type { SidecarClient } from '../sidecar/client.ts';
import { type Job, type JobOptions, LiveJob, pictureBytes } from './job.ts';
import { callWebhook, type WebhookOptions } from './webhook.ts';

export interface JobLimits {
  /** Jobs, finished ones included. */
  count: number;
  /** Bytes of what finished ones hold. */
  bytes: number;
  /** Bytes of the pictures in requests under way; default: `bytes`. */
  requestBytes?: number;
  /** Milliseconds that a finished one is kept. */
  keepMs: number;
}

export const defaultJobLimits: JobLimits = { count: 1000, bytes: 256 * 2 ** 20, keepMs: 3_600_000 };

/** Where jobs outlive this process. */
export interface JobArchive {
  /** Those that are there; one that had not come to its end has failed. */
  all(): Job[];
  /** @returns the same without its pictures in memory. */
  put(job: Job): Job;
  /** Its end has been told, or never will be. */
  told(job: Job): void;
  delete(id: string): void;
}

export interface JobStoreOptions {
  limits?: JobLimits;
  /** Whom to tell of their end; none: nobody. */
  webhooks?: WebhookOptions | undefined;
  /** None: they end with this process. */
  archive?: JobArchive | undefined;
  /** From 0 to 1, for tests; default: Math.random. */
  random?: (() => number) | undefined;
}

/** The jobs of this process, in memory, and those of its archive. */
export class JobStore {
  readonly webhooks: WebhookOptions | undefined;
  readonly #jobs = new Map<string, Job>();
  readonly #sidecar: SidecarClient;
  readonly #limits: JobLimits;
  readonly #archive: JobArchive | undefined;
  readonly #random: (() => number) | undefined;
  /** Ends that are being told. */
  #telling = 0;

  constructor(
    sidecar: SidecarClient,
    { limits = defaultJobLimits, webhooks, archive, random }: JobStoreOptions = {},
  ) {
    this.webhooks = webhooks;
    this.#sidecar = sidecar;
    this.#limits = limits;
    this.#archive = archive;
    this.#random = random;
    for (const job of archive?.all() ?? []) {
      this.#jobs.set(job.id, job);
      void this.#tell(job);
    }
  }

  /** Whether a job is under way, or the end of one being told. */
  get isBusy(): boolean {
    return this.#telling > 0 || [...this.#jobs.values()].some((job) => !job.isFinished);
  }

  /**
   * The job that an idempotency key stands for, as long as it is kept.
   * @throws ApiError where that was asked for something else.
   */
  again(key: string | undefined, fingerprint: string): Job | undefined {
    if (key === undefined) return undefined;
    this.tidy();
    const job = [...this.#jobs.values()].find(({ idempotencyKey }) => idempotencyKey === key);
    if (!job || job.fingerprint === fingerprint) return job;
    const message = 'Expected the same request as before with this Idempotency-Key but received another';
    throw new ApiError(422, 'idempotency_conflict', message, { param: 'Idempotency-Key' });
  }

  /** @throws ApiError where there are as many under way as there may be. */
  start(options: Omit<JobOptions, 'id' | 'random'>): LiveJob {
    this.tidy();
    const { bytes, requestBytes = bytes } = this.#limits;
    const held = this.#requestBytes();
    const more = pictureBytes(options.request);
    // One by itself is bounded as every body is.
    if (held > 0 && held + more > requestBytes)
      throw tooMany(
        `The pictures of jobs under way have ${held} bytes, and with ${more} more they would have over ${requestBytes}`,
      );
    while (this.#jobs.size >= this.#limits.count)
      if (!this.#drop(() => 1))
        throw tooMany(`There are ${this.#jobs.size} jobs under way, as many as there may be`);
    const job = new LiveJob(this.#sidecar, { ...options, id: newId(), random: this.#random });
    this.#jobs.set(job.id, job);
    this.#archived(job);
    job.done.then(() => this.#ended(job)).catch((error) => console.error(error));
    return job;
  }

  /** The owner's own; what is another's is not there. */
  find(id: string, owner: string): Job | undefined {
    this.tidy();
    const job = this.#jobs.get(id);
    return job?.owner === owner ? job : undefined;
  }

  /**
   * Drops what has been kept long enough, or is too much.
   * @returns when the next is to go, in milliseconds since 1970; undefined: none.
   */
  tidy(): number | undefined {
    const oldest = Date.now() - this.#limits.keepMs;
    let bytes = 0;
    for (const job of this.#jobs.values()) {
      if (job.finished !== undefined && job.finished <= oldest) this.#delete(job);
      else if (job.isFinished) bytes += job.bytes;
    }
    while (bytes > this.#limits.bytes) bytes -= this.#drop((job) => job.bytes)?.bytes ?? bytes;
    const ends = [...this.#jobs.values()].flatMap(({ finished }) => finished ?? []);
    return ends.length > 0 ? Math.min(...ends) + this.#limits.keepMs : undefined;
  }

  /** Bytes of the pictures in requests under way. */
  #requestBytes(): number {
    const jobs = [...this.#jobs.values()].filter((job) => job instanceof LiveJob && !job.isFinished);
    return (jobs as LiveJob[]).reduce((sum, { requestBytes }) => sum + requestBytes, 0);
  }

  #ended(job: LiveJob): void {
    let kept: Job = job;
    // It may have made way already.
    if (this.#jobs.has(job.id)) {
      kept = this.#archived(job);
      this.#jobs.set(job.id, kept);
    }
    void this.#tell(kept);
    this.tidy();
  }

  /** As the archive has it; where that has no room, as it is. */
  #archived(job: Job): Job {
    try {
      return this.#archive?.put(job) ?? job;
    } catch (error) {
      console.error(error);
      return job;
    }
  }

  async #tell(job: Job): Promise<void> {
    const { webhooks } = this;
    const url = job.webhook === undefined ? undefined : new URL(job.webhook);
    // Hosts may have been taken out since it began.
    if (!url || !webhooks?.hosts.includes(url.hostname)) return;
    this.#telling++;
    try {
      await callWebhook(job, url, webhooks);
      if (this.#jobs.has(job.id)) this.#archive?.told(job);
    } catch (error) {
      console.error(error);
    }
    this.#telling--;
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
    if (oldest) this.#delete(oldest);
    return oldest;
  }

  #delete({ id }: Job): void {
    this.#jobs.delete(id);
    try {
      this.#archive?.delete(id);
    } catch (error) {
      // Whoever opens the archive next deletes it.
      console.error(error);
    }
  }
}

function tooMany(message: string): ApiError {
  return new ApiError(429, 'too_many_jobs', message, { retryAfterMs: 5000 });
}

/** 192 random bits: nobody guesses another's. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return `job_${btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')}`;
}
