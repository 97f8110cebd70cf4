import { z } from '@hono/zod-openapi';
import { fromBase64 } from '../base64.ts';

export const EXPECTED = 'a PNG, JPEG or WebP file in base64, bare or as a data URL,';
/** A grey PNG of 8×8 pixels. */
const EXAMPLE =
  'iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADklEQVQI12NogAIGyhgAgIQgAb2ruSwAAAAASUVORK5CYII=';
const ADDRESS = /^https?:/i;
const DATA_URL = /^data:([^,;]*)((?:;[^,]*)?),/i;

/** Where a picture is, in place of its bytes: for `withPictures` to fetch, or to refuse. */
export class PictureAddress {
  readonly url: string;
  constructor(url: string) {
    this.url = url;
  }
}

/** Whether a picture is said to be elsewhere, where it may be fetched. */
export const isAddress = (value: unknown): value is string =>
  typeof value === 'string' && ADDRESS.test(value);

/**
 * A picture: in JSON base64, bare or as a data URL; of a form its bytes. Whether it is one, the sidecar sees.
 * @param description for the API's documentation.
 * @param as what the documentation shows of it.
 */
export const imageFile = (description: string, as: 'base64' | 'binary' = 'base64') =>
  z
    .union([z.instanceof(Uint8Array<ArrayBufferLike>), z.string()], { error: EXPECTED })
    .transform((value, context): Uint8Array => {
      // The type is what it is once the request is run.
      if (isAddress(value)) return new PictureAddress(value) as never;
      const read = typeof value === 'string' ? readImage(value) : value;
      if (typeof read !== 'string' && read.length > 0) return read;
      const received = typeof read === 'string' ? read : 'nothing';
      context.addIssue({ code: 'custom', message: EXPECTED, params: { received } });
      return z.NEVER;
    })
    .openapi({
      type: 'string',
      description,
      ...(as === 'binary' ? { format: 'binary' } : { contentEncoding: 'base64', example: EXAMPLE }),
    } as object);

/** @returns the file, or in words what came instead. */
function readImage(text: string): Uint8Array | string {
  if (/^(ftp|file|blob):/i.test(text)) return 'an address: pictures are not fetched';
  if (!/^data:/i.test(text)) return fromBase64(text);
  const head = DATA_URL.exec(text.slice(0, 256));
  if (!head) return 'a data URL without data';
  const [all, type, parameters] = head as unknown as [string, string, string];
  if (!/^image\/(png|jpe?g|webp)$/i.test(type)) return `a data URL of type ${JSON.stringify(type)}`;
  if (!/;base64$/i.test(parameters)) return 'a data URL that is not in base64';
  return fromBase64(text.slice(all.length));
}
