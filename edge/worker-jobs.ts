import { OpenAPIHono } from '@hono/zod-openapi';
import { requestId } from 'hono/request-id';
import { readSettings } from './config.ts';
import { ApiError, errorResponse, toApiError } from './errors.ts';
import { callerOf } from './guard/caller.ts';
import { SqlArchive, type SqlStorage } from './jobs/sql-archive.ts';
import { JobStore } from './jobs/store.ts';
import { type ForwardJobs, jobs } from './routes/jobs.ts';
import { traceRequests } from './tracing.ts';
import { type WorkerEnv, workerSidecar } from './worker-env.ts';

// Jobs on Cloudflare Workers: a Worker ends with its request, a Durable Object does not. Each caller has one.

/** Says to the object who asks, as the Worker has found; from outside nobody reaches it. */
const CALLER = 'x-latent-edge-caller';

/** Milliseconds. Without an event an object is put out of memory after 70 to 140 s, whatever it waits for. */
const HEARTBEAT = 30_000;

/** Milliseconds after which an object that could not be reached is there again. */
const RETRY_MS = 1000;

/** Bytes of pictures in requests under way: an object has 128 MB, and what is being sent is there several times. */
const REQUEST_BYTES = 32 * 2 ** 20;

/** Milliseconds that a webhook has to answer. */
const WEBHOOK_TIMEOUT = 10_000;

/** Hands what is asked of jobs to the object of who asks. */
export function toCallerJobs(objects: NonNullable<WorkerEnv['JOBS']>): ForwardJobs {
  return async (c) => {
    const caller = callerOf(c);
    const headers = new Headers(c.req.raw.headers);
    headers.set(CALLER, JSON.stringify(caller));
    headers.set('x-request-id', c.get('requestId'));
    const object = objects.get(objects.idFromName(caller.name));
    try {
      const reply = await object.fetch(new Request(c.req.raw, { headers }));
      return new Response(reply.body, reply);
    } catch (cause) {
      console.error(cause);
      const message = 'The jobs cannot be reached: what keeps them is being restarted';
      throw new ApiError(503, 'jobs_unreachable', message, { retryAfterMs: RETRY_MS, cause });
    }
  };
}

/** Of a Durable Object's state, as much as is used of it. */
interface ObjectState {
  storage: SqlStorage & {
    getAlarm(): Promise<number | null>;
    setAlarm(time: number): Promise<void>;
  };
}

/** The jobs of one caller: a Durable Object. Those under way are in memory, all of them in its database. */
export class CallerJobs {
  readonly #storage: ObjectState['storage'];
  readonly #store: JobStore;
  readonly #app = new OpenAPIHono();

  constructor({ storage }: ObjectState, env: WorkerEnv) {
    const { timeoutMs, limits, jobs: jobLimits, webhooks } = readSettings(env);
    this.#storage = storage;
    this.#store = new JobStore(workerSidecar(env), {
      limits: { ...jobLimits, requestBytes: Math.min(jobLimits.bytes, REQUEST_BYTES) },
      webhooks: webhooks && { ...webhooks, post: postWebhook, log: console.error },
      archive: new SqlArchive(storage),
    });
    this.#app.use(requestId(), traceRequests(undefined), (c, next) => {
      c.set('caller' as never, JSON.parse(c.req.header(CALLER)!) as never);
      return next();
    });
    this.#app.onError((error, c) => {
      const answer = toApiError(error);
      if (answer.status === 500) console.error(error);
      return errorResponse(c, answer);
    });
    this.#app.route('/', jobs({ store: this.#store, limits, timeoutMs }));
  }

  async fetch(request: Request): Promise<Response> {
    const response = await this.#app.fetch(request);
    await this.#setAlarm();
    return response;
  }

  async alarm(): Promise<void> {
    await this.#setAlarm();
  }

  /** For as long as there is something to do it is woken, and when a job has been kept for long enough. */
  async #setAlarm(): Promise<void> {
    const next = this.#store.tidy();
    const time = this.#store.isBusy ? Date.now() + HEARTBEAT : next;
    if (time === undefined) return;
    const before = await this.#storage.getAlarm();
    if (before === null || before > time) await this.#storage.setAlarm(time);
  }
}

/** Where the platform sends requests is its own to watch over: here a host is one that is named, over TLS. */
async function postWebhook(url: URL, body: string, headers: Record<string, string>): Promise<number> {
  const signal = AbortSignal.timeout(WEBHOOK_TIMEOUT);
  const reply = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal });
  await reply.body?.cancel();
  return reply.status;
}
