import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import { healthReply, json } from '../schema/common.ts';
import type { SidecarClient } from '../sidecar/client.ts';

const route = createRoute({
  method: 'get',
  path: '/healthz',
  summary: 'Whether requests can be served',
  responses: {
    200: json(healthReply, 'The edge runs and reaches its sidecar.'),
    503: json(healthReply, 'The sidecar cannot be reached, is not ready yet, or is being stopped.'),
  },
});

/** GET /healthz */
export function health(sidecar: SidecarClient): OpenAPIHono {
  return new OpenAPIHono().openapi(route, async (c) => {
    try {
      const info = await sidecar.deviceInfo({ signal: c.req.raw.signal, timeoutMs: 2000 });
      const { running, queued, stepsRun, ready } = info;
      const devices = info.devices.map(({ id, name, lost }) => `${id}: ${name}${lost ? ' (lost)' : ''}`);
      const reached = { reachable: true, devices, running, queued, steps_run: stepsRun };
      return ready
        ? c.json({ status: 'ok' as const, sidecar: reached }, 200)
        : c.json({ status: 'unavailable' as const, sidecar: reached }, 503);
    } catch {
      const sidecar = { reachable: false, devices: [], running: 0, queued: 0, steps_run: 0 };
      return c.json({ status: 'unavailable' as const, sidecar }, 503);
    }
  }) as unknown as OpenAPIHono;
}
