import { OpenAPIHono } from '@hono/zod-openapi';
import { Desks } from '../../a1111/tasks.ts';
import { a1111ControlNet } from './controlnet.ts';
import { a1111Images } from './images.ts';
import { a1111Lists } from './lists.ts';
import { type A1111Options, a1111Settings } from './options.ts';
import { a1111PngInfo } from './png-info.ts';
import { a1111Progress } from './progress.ts';

/** /sdapi/v1/… and /controlnet/…, as clients of A1111's web UI ask for them. */
export function a1111(options: Omit<A1111Options, 'desks'>): OpenAPIHono {
  const all = { ...options, desks: new Desks() };
  const app = new OpenAPIHono();
  app.route('/', a1111Images(all));
  app.route('/', a1111Progress(all));
  app.route('/', a1111Settings(all));
  app.route('/', a1111Lists(all.sidecar));
  app.route('/', a1111ControlNet(all));
  app.route('/', a1111PngInfo(all));
  return app;
}
