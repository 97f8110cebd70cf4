import type { OpenAPIHono } from '@hono/zod-openapi';

/** GET /openapi.json: what the routes of `app` declare. Call it once they are all there. */
export function openapi(app: OpenAPIHono): void {
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'latent-edge',
      version: '1',
      description: 'Latent diffusion on your own devices. The images route speaks OpenAI’s dialect.',
    },
  });
}
