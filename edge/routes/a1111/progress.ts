import { OpenAPIHono, z } from '@hono/zod-openapi';
import { emptyObject, progressReply } from '../../a1111/replies.ts';
import type { Task } from '../../a1111/tasks.ts';
import { toBase64 } from '../../base64.ts';
import { declare } from './declare.ts';
import { type A1111Options, deskOf } from './options.ts';

/** GET /sdapi/v1/progress, POST interrupt and skip: of the caller's own runs. */
export function a1111Progress({ desks }: A1111Options): OpenAPIHono {
  const app = new OpenAPIHono();
  const query = z.object({ skip_current_image: z.enum(['true', 'false']).optional() });
  const progress = { path: '/sdapi/v1/progress', summary: 'How far the caller’s own run is' };
  declare(app, { ...progress, method: 'get', reply: progressReply, query });
  app.get('/sdapi/v1/progress', (c) => {
    const tasks = [...deskOf(c, desks).tasks];
    // Python's requests writes True.
    const isShown = !/^(true|1|yes|on)$/i.test(c.req.query('skip_current_image') ?? '');
    return c.json(progressOf(tasks, isShown));
  });
  for (const path of ['/sdapi/v1/interrupt', '/sdapi/v1/skip']) {
    declare(app, { method: 'post', path, summary: 'End the caller’s own runs', reply: emptyObject });
    app.post(path, (c) => {
      for (const task of deskOf(c, desks).tasks) task.interrupt();
      return c.json({});
    });
  }
  return app;
}

/** Of the caller's tasks, the one that is furthest. */
function progressOf(tasks: Task[], isShown: boolean) {
  const task = tasks.toSorted((a, b) => b.step - a.step)[0];
  const { step = 0, total = 0, interrupted = false, previews = [], began = Date.now() } = task ?? {};
  const progress = total > 0 ? Math.min(step / total, 0.99) : 0;
  const seconds = (Date.now() - began) / 1000;
  const [preview] = previews;
  return {
    progress,
    eta_relative: step > 0 ? (seconds / step) * (total - step) : 0,
    state: {
      ...{ skipped: false, interrupted, stopping_generation: false },
      ...{ job: task ? 'scripts' : '', job_count: tasks.length, job_no: 0 },
      job_timestamp: task ? new Date(began).toISOString().replace(/\D/g, '').slice(0, 14) : '0',
      ...{ sampling_step: step, sampling_steps: total },
    },
    current_image: isShown && preview ? toBase64(preview.data) : null,
    textinfo: null,
    current_task: task?.id ?? null,
  };
}
