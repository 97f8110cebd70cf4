import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { ApiError, errorResponse } from '../errors.ts';
import { callerOf, limitsOf } from '../guard/caller.ts';
import { drawSeed, idempotencyKey } from '../idempotency.ts';
import type { Job } from '../jobs/job.ts';
import type { JobStore } from '../jobs/store.ts';
import { checkWebhook } from '../jobs/webhook.ts';
import type { Limits } from '../limits.ts';
import { type FetchPicture, withPictures } from '../pictures.ts';
import { errorReplies, errorReply, json } from '../schema/common.ts';
import { generationBody } from '../schema/generation.ts';
import { jobBody, jobObject, jobOf } from '../schema/job.ts';
import { ignoredFields, toGenerateRequest } from '../schema/to-sidecar.ts';
import { requestDigest, toHex } from '../sidecar/request-digest.ts';
import { traceOf } from '../tracing.ts';
import { jsonBody, limitBody, requireType } from './body.ts';
import { imagesContent, resultResponse } from './images.ts';

export interface JobsOptions {
  /** None: this server keeps no jobs. */
  store: JobStore | undefined;
  limits: Limits;
  fetchPicture?: FetchPicture | undefined;
  timeoutMs: number;
}

const PREVIEWS = 3;
const RETRY_MS = 1000;

const params = z.object({ id: z.string() });
const replies = {
  404: json(errorReply, 'There is no such job of yours, or no more.'),
  501: json(errorReply, 'This server keeps no jobs: its operator has them switched off.'),
};

const create = createRoute({
  method: 'post',
  path: '/v1/jobs',
  summary: 'Make images without waiting for them',
  description:
    'Takes what POST /v1/images/generations takes (`stream` apart), and answers at once. The job goes on when the caller leaves.',
  request: { body: { required: true, content: { 'application/json': { schema: jobBody } } } },
  responses: {
    202: json(jobObject, 'The job; `location` says where to ask for it.'),
    ...errorReplies,
    ...replies,
  },
});

const route = (method: 'get' | 'delete', path: string, summary: string) => ({
  ...{ method, path, summary },
  request: { params },
  responses: { 200: json(jobObject, 'The job.'), ...replies },
});
const status = createRoute(route('get', '/v1/jobs/{id}', 'How far a job is'));
const cancel = createRoute(route('delete', '/v1/jobs/{id}', 'Stop a job; a finished one stays as it is'));
const result = createRoute({
  ...route('get', '/v1/jobs/{id}/result', 'What a job has made'),
  responses: {
    ...{ 200: imagesContent, ...errorReplies, ...replies },
    409: json(errorReply, 'It is not finished: `retry-after`; or it was cancelled.'),
  },
});

/** Hands a request on to where the caller's jobs are kept. */
export type ForwardJobs = (c: Context) => Promise<Response>;

/** /v1/jobs, where something else answers: a `jobs` of its own. */
export function forwardedJobs(forward: ForwardJobs): OpenAPIHono {
  const app = new OpenAPIHono();
  for (const route of [create, status, cancel, result]) {
    app.openAPIRegistry.registerPath(route);
    app.on(route.method, route.getRoutingPath(), forward);
  }
  return app;
}

/** /v1/jobs */
export function jobs({ store, limits, fetchPicture, timeoutMs }: JobsOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  const kept = () => {
    if (store) return store;
    const message = 'This server keeps no jobs: JOBS_MAX is 0 or, on Workers, the binding JOBS is missing';
    throw new ApiError(501, 'not_implemented', message);
  };
  const own = (c: Context, id: string): Job => {
    const job = kept().find(id, callerOf(c).name);
    if (job) return job;
    throw new ApiError(404, 'job_not_found', `There is no job ${JSON.stringify(id.slice(0, 80))}`, {
      param: 'id',
    });
  };
  app.openAPIRegistry.registerPath(create);
  app.post(create.path, requireType('application/json'), limitBody(limits.imageBodyBytes), async (c) => {
    const { webhook, ...sent } = await jsonBody(c, jobBody);
    const store = kept();
    const url = webhook ? checkWebhook(webhook.url, store.webhooks) : undefined;
    const body = await withPictures(sent, fetchPicture);
    const asked = { ...body, stream: true, partial_images: body.partial_images ?? PREVIEWS };
    const key = await idempotencyKey(c);
    const asUrls = body.response_format === 'url' ? ['response_format: not with jobs'] : [];
    const ignored = [...ignoredFields(asked, generationBody.shape), ...asUrls];
    const request = toGenerateRequest(asked, { limits: limitsOf(c, limits), drawn: drawSeed(key) });
    const fingerprint = JSON.stringify([toHex(await requestDigest(request)), ignored, url]);
    const answer = (job: Job) => c.json(jobOf(job), 202, { location: `/v1/jobs/${job.id}` });
    // What is sent again is no other job.
    const before = store.again(key, fingerprint);
    if (before) return answer(before);
    const job = store.start({
      ...{ owner: callerOf(c).name, ignored, fingerprint, timeoutMs, webhook: url?.href },
      request: { ...request, priority: request.priority || 'bulk' },
      requestId: c.get('requestId' as never) as string,
      trace: traceOf(c),
      ...{ idempotencyKey: key, isSeeded: body.seed !== undefined && body.seed !== null },
    });
    return answer(job);
  });
  return app
    .openapi(status, (c) =>
      c.json(jobOf(own(c, c.req.valid('param').id)), 200, { 'cache-control': 'no-store' }),
    )
    .openapi(cancel, (c) => {
      const job = own(c, c.req.valid('param').id);
      job.cancel();
      return c.json(jobOf(job), 200);
    })
    .openapi(result, (c) => {
      const job = own(c, c.req.valid('param').id);
      if (job.error) return errorResponse(c, job.error) as never;
      if (job.status === 'cancelled') throw new ApiError(409, 'job_cancelled', 'The job was cancelled');
      const made = job.isFinished && job.result;
      if (!made)
        throw new ApiError(409, 'job_not_finished', `The job is ${job.status}`, { retryAfterMs: RETRY_MS });
      return resultResponse(c, made, job.ignored) as never;
    }) as unknown as OpenAPIHono;
}
