import { expect, it } from 'vitest';
import { reference } from '../../edge/reference.ts';

it('reads each of its files once, and sends it once to who keeps it', async () => {
  const read: string[] = [];
  const app = reference((name) => {
    read.push(name);
    return `/* ${name} */`;
  });
  const path = '/docs/swagger-ui-bundle.js';
  const [first, second] = [await app.request(path), await app.request(path)];
  expect([await first.text(), await second.text()]).toEqual(Array(2).fill('/* swagger-ui-bundle.js */'));
  const etag = first.headers.get('etag')!;
  const known = await app.request(path, { headers: { 'if-none-match': etag } });
  expect([known.status, known.headers.get('etag')]).toEqual([304, etag]);
  expect(read).toEqual(['swagger-ui-bundle.js']);
});
