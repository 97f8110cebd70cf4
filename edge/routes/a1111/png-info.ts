import { OpenAPIHono, z } from '@hono/zod-openapi';
import { fileText } from '../../a1111/file-text.ts';
import { parametersOf } from '../../a1111/parameters-text.ts';
import { pngInfoReply } from '../../a1111/replies.ts';
import { withPictures } from '../../pictures.ts';
import { imageFile } from '../../schema/file.ts';
import { jsonBody, limitBody, requireType } from '../body.ts';
import { declare } from './declare.ts';
import type { A1111Options } from './options.ts';

const body = z.looseObject({ image: imageFile('A file that was made here, or there.') });

/** POST /sdapi/v1/png-info: what a file was made with; of JPEG and WebP too. */
export function a1111PngInfo({ limits }: A1111Options): OpenAPIHono {
  const app = new OpenAPIHono();
  const path = '/sdapi/v1/png-info';
  declare(app, { method: 'post', path, summary: 'What a file was made with', body, reply: pngInfoReply });
  app.post(path, requireType('application/json'), limitBody(limits.imageBodyBytes), async (c) => {
    const { image } = await withPictures(await jsonBody(c, body), undefined);
    const info = fileText(image) ?? '';
    return c.json({ info, items: info ? { parameters: info } : {}, parameters: parametersOf(info) });
  });
  return app;
}
