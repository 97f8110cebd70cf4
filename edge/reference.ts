import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Hono } from 'hono';
import { etag } from 'hono/etag';

// GET /docs: /openapi.json to read and to try out, with Swagger UI as its package has it. On Node alone: it is larger
// than all the rest of the edge.

/** Scripts, styles and requests are this server's own; pictures also what the page makes itself. */
const policy = [
  ...["default-src 'self'", "img-src 'self' data: blob:", "object-src 'none'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>latent-edge: API</title>
    <link rel="icon" href="/playground/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
    <script src="/docs/swagger-ui-bundle.js" defer></script>
    <script src="/docs/start.js" defer></script>
  </head>
  <body>
    <main id="reference"></main>
  </body>
</html>
`;

const start = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
});
`;

const require = createRequire(import.meta.url);
const fromPackage = (name: string) => readFileSync(require.resolve(`swagger-ui-dist/${name}`), 'utf8');

interface Part {
  text: string;
  etag: string;
}

/**
 * The reference page and its parts.
 * @param ofPackage a file of Swagger UI's: read, and hashed, when it is asked for first.
 */
export function reference(ofPackage = fromPackage): Hono {
  const files: [path: string, type: string, text: () => string][] = [
    ['/docs', 'text/html; charset=utf-8', () => page],
    ['/docs/start.js', 'text/javascript; charset=utf-8', () => start],
    ...(['swagger-ui-bundle.js', 'swagger-ui.css'] as const).map((name): (typeof files)[number] => [
      `/docs/${name}`,
      `text/${name.endsWith('.css') ? 'css' : 'javascript'}; charset=utf-8`,
      () => ofPackage(name),
    ]),
  ];
  const app = new Hono();
  for (const [path, type, text] of files) {
    let part: Part | undefined;
    app.get(path, etag(), (c) => {
      part ??= partOf(text());
      return c.body(part.text, 200, {
        ...{ 'content-type': type, etag: part.etag },
        ...{ 'content-security-policy': policy, 'cache-control': 'no-cache' },
      });
    });
  }
  return app;
}

function partOf(text: string): Part {
  return { text, etag: `"${createHash('sha256').update(text).digest('hex').slice(0, 32)}"` };
}
