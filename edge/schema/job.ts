import { z } from '@hono/zod-openapi';
import { toBase64 } from '../base64.ts';
import type { Job } from '../jobs/job.ts';
import { toOutputFormat } from './formats.ts';
import { generationBody } from './generation.ts';

/** Body of POST /v1/jobs. */
export const jobBody = generationBody
  .extend({
    webhook: z
      .object({ url: z.url({ protocol: /^https?$/, error: 'an https address' }).max(2048) })
      .nullish()
      .openapi({ description: 'Where to tell of the end, if the operator allows its host; docs/http.md.' }),
  })
  .openapi('JobRequest');

export const jobObject = z
  .object({
    id: z.string(),
    object: z.literal('job'),
    status: z.enum(['queued', 'running', 'succeeded', 'failed', 'cancelled']),
    created_at: z.int().openapi({ description: 'Seconds since 1970.' }),
    finished_at: z.int().nullable(),
    step: z.int().openapi({ description: 'Denoising steps done.' }),
    total: z.int().openapi({ description: 'Denoising steps in all; 0: not known yet.' }),
    preview: z
      .object({ b64_json: z.string(), output_format: z.enum(['png', 'jpeg', 'webp']) })
      .nullable()
      .openapi({ description: 'The newest of the first image, while it runs.' }),
    error: z
      .object({
        message: z.string(),
        type: z.string(),
        param: z.string().nullable(),
        code: z.string().nullable(),
      })
      .nullable(),
  })
  .openapi('Job');

export type JobObject = z.output<typeof jobObject>;

export function jobOf(job: Job): JobObject {
  const { id, status, step, total, preview, error } = job;
  return {
    ...{ id, object: 'job', status },
    created_at: seconds(job.created),
    finished_at: job.finished === undefined ? null : seconds(job.finished),
    ...{ step, total },
    preview: preview
      ? { b64_json: toBase64(preview.data), output_format: toOutputFormat(preview.format) }
      : null,
    error: error?.body().error ?? null,
  };
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
