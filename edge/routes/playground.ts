import { Hono } from 'hono';
import { etag, RETAINED_304_HEADERS } from 'hono/etag';
import { files } from '../playground/gen/files.ts';

/** Scripts, styles and requests are this server's own; pictures also what the page has in memory. */
const policy = [
  ...["default-src 'self'", "img-src 'self' blob: data:", "object-src 'none'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

/** A browser takes the headers of a 304 in place of those it has. */
const retainedHeaders = [...RETAINED_304_HEADERS, 'content-security-policy'];

/** GET / and its parts: a page to try things out. docs/playground.md */
export function playground(): Hono {
  const app = new Hono();
  for (const [path, [type, text]] of Object.entries(files))
    app.get(path, etag({ retainedHeaders }), (c) =>
      c.body(text, 200, {
        'content-type': type,
        'content-security-policy': policy,
        'cache-control': 'no-cache',
      }),
    );
  return app;
}
