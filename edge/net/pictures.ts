import type { FetchPicture } from '../pictures.ts';
import { type PublicRequest, publicRequest } from './public-request.ts';

/** Milliseconds for one picture, and how often its address may be sent on. */
const LIMITS = { timeoutMs: 10_000, redirects: 3 };

/**
 * Fetches pictures from the hosts that an operator has named, each by a connection that is looked at.
 * @param hosts `*`: any that is public.
 */
export function pictureFetcher(
  hosts: readonly string[],
  options: Pick<PublicRequest, 'maxBytes'> & Partial<PublicRequest>,
): FetchPicture {
  const isNamed = (host: string) => hosts.includes('*') || hosts.includes(host);
  return async (url) => {
    if (!URL.canParse(url)) throw new Error('it cannot be read');
    const headers = { accept: 'image/png, image/jpeg, image/webp' };
    const { status, body } = await publicRequest(new URL(url), { headers, isNamed, ...LIMITS, ...options });
    if (status !== 200) throw new Error(`its server answered ${status}`);
    if (body.length === 0) throw new Error('it is empty');
    return body;
  };
}
