import { unexpected } from './errors.ts';
import { EXPECTED, PictureAddress } from './schema/file.ts';

/** Bytes of a picture at an address. @throws Error saying, for the caller, why there are none. */
export type FetchPicture = (url: string) => Promise<Uint8Array>;

/** Addresses of one request, at most. */
const MAX_ADDRESSES = 16;
/** How deep in a body they stand: `control[0].image`. What lies deeper is nobody's field. */
const DEPTH = 3;

/**
 * A body with pictures in place of their addresses.
 * @param fetchPicture none: pictures are not fetched here.
 * @throws ApiError naming the field
 */
export async function withPictures<Body>(body: Body, fetchPicture: FetchPicture | undefined): Promise<Body> {
  let left = MAX_ADDRESSES;
  const fetched = async (value: unknown, path: string, depth = DEPTH): Promise<unknown> => {
    if (value instanceof PictureAddress) {
      if (!fetchPicture) throw unexpected(path, EXPECTED, 'an address: pictures are not fetched');
      if (left-- <= 0) throw unexpected(path, `at most ${MAX_ADDRESSES} addresses`, 'more');
      return fetchPicture(value.url).catch((error: Error) => {
        throw unexpected(path, EXPECTED, `an address that gives none: ${error.message}`);
      });
    }
    if (!isCompound(value) || depth === 0) return value;
    if (Array.isArray(value)) return inTurn(value, (item, i) => fetched(item, `${path}[${i}]`, depth - 1));
    const pairs = await inTurn(Object.entries(value), async ([name, item]) => [
      ...[name, await fetched(item, path === '' ? name : `${path}.${name}`, depth - 1)],
    ]);
    return Object.fromEntries(pairs as [string, unknown][]);
  };
  return holdsAddress(body) ? ((await fetched(body, '')) as Body) : body;
}

function holdsAddress(value: unknown, depth = DEPTH): boolean {
  if (value instanceof PictureAddress) return true;
  return isCompound(value) && depth > 0 && Object.values(value).some((item) => holdsAddress(item, depth - 1));
}

const isCompound = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array);

/** One after the other: a request has one connection at a time. */
async function inTurn<T, R>(items: readonly T[], each: (item: T, i: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const [i, item] of items.entries()) results.push(await each(item, i));
  return results;
}
