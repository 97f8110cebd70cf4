import type { OpenAPIHono } from '@hono/zod-openapi';
import { publicPaths } from '../guard/caller.ts';
import { errorReplies, guardReplies, openReplies } from '../schema/common.ts';

/** Ways to present a key, where the server asks for one. */
const schemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'A key of the operator’s, if there are any.' },
  basic: { type: 'http', scheme: 'basic', description: 'The same, as the password of any user.' },
  key: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'The same.' },
} as const;

/** GET /openapi.json: what the routes of `app` declare. Call it once they are all there. */
export function openapi(app: OpenAPIHono): void {
  const registry = app.openAPIRegistry;
  for (const [name, scheme] of Object.entries(schemes))
    registry.registerComponent('securitySchemes', name, scheme);
  for (const definition of registry.definitions) {
    if (definition.type !== 'route') continue;
    const { route } = definition;
    const isOpen = publicPaths.has(route.path);
    const replies: typeof route.responses = { ...(isOpen ? openReplies : guardReplies) };
    if (route.method !== 'get') replies[429] = errorReplies[429];
    route.responses = { ...replies, ...route.responses };
    if (isOpen) route.security = [];
  }
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    // The last: no key, where there are none.
    security: [{ bearer: [] }, { basic: [] }, { key: [] }, {}],
    info: {
      title: 'latent-edge',
      version: '1',
      description: 'Latent diffusion on your own devices. The images route speaks OpenAI’s dialect.',
    },
  });
}
