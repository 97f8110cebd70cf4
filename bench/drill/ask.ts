import { createHash } from 'node:crypto';

/** A picture that is asked for: what it has to be is known. */
export interface Ask {
  model: string;
  steps: number;
  seed: number;
  /** `WIDTHxHEIGHT`; none: the model's own. */
  size?: string;
  /** A picture to begin from, base64. */
  init_image?: string;
}

/** What somebody who asked was told. */
export interface Answer extends Ask {
  /** HTTP's; 0: the connection broke off, or nothing came within the time there was. */
  status: number;
  /** `ok`, an error's code, `left` for those who went away themselves, `lost`. */
  code: string;
  /** Of the picture. */
  sha256?: string;
  data?: Uint8Array;
  ms: number;
  retryAfter?: number;
}

export interface AskOptions {
  /** Seconds without an answer after which it counts as lost. */
  patience?: number;
  /** When who asks leaves. */
  leave?: AbortSignal;
  headers?: Record<string, string>;
}

export const bodyOf = (what: Ask) => ({ ...what, prompt: `red apple ${what.seed}` });

export const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

/** Asks an edge for a picture. Never throws: an answer that did not come is one too. */
export async function ask(url: string, what: Ask, options: AskOptions = {}): Promise<Answer> {
  const { patience = 120, leave, headers = {} } = options;
  const began = performance.now();
  const { init_image: _, ...known } = what;
  // Not of AbortSignal.timeout: what AbortSignal.any makes of one is collected, with the request still under way.
  const leaving = new AbortController();
  const timer = setTimeout(() => leaving.abort(), 1000 * patience);
  const onLeave = () => leaving.abort();
  leave?.addEventListener('abort', onLeave, { once: true });
  if (leave?.aborted) onLeave();
  const done = (rest: Omit<Answer, keyof Ask | 'ms'>) => ({
    ...known,
    ms: performance.now() - began,
    ...rest,
  });
  try {
    const response = await fetch(`${url}/v1/images/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'image/png', ...headers },
      body: JSON.stringify(bodyOf(what)),
      signal: leaving.signal,
    });
    const { status } = response;
    if (status === 200) {
      const data = new Uint8Array(await response.arrayBuffer());
      return done({ status, code: 'ok', sha256: sha256(data), data });
    }
    const { error } = (await response.json()) as { error?: { code?: string } };
    const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
    return done({ status, code: error?.code ?? `status ${status}`, retryAfter });
  } catch {
    return done({ status: 0, code: leave?.aborted ? 'left' : 'lost' });
  } finally {
    clearTimeout(timer);
    leave?.removeEventListener('abort', onLeave);
  }
}

/** Asks for all of them, so many at once. */
export async function askAll(
  asks: readonly Ask[],
  clients: number,
  one: (what: Ask, i: number) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  const client = async () => {
    for (let i = next++; i < asks.length; i = next++) answers[i] = await one(asks[i]!, i);
  };
  await Promise.all(Array.from({ length: clients }, client));
  return answers;
}
