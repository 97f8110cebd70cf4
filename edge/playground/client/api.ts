import { EventSourceParserStream } from 'eventsource-parser/stream';
import { storedKey } from './key.ts';
import type { Body, StreamEvent } from './types.ts';

/** What the server, or the way to it, has against a request. */
export class RequestError extends Error {
  override name = 'RequestError';
  readonly status: number;
  /** The field at fault. */
  readonly param: string | undefined;

  constructor(message: string, { status = 0, param }: { status?: number; param?: string | null } = {}) {
    super(message);
    this.status = status;
    this.param = param ?? undefined;
  }
}

/** @throws RequestError */
export async function getJson<T>(path: string): Promise<T> {
  return (await request(path, {})).json();
}

/**
 * Asks for images. Ends early when `signal` says so, and the server's work with it.
 * @throws RequestError, also where the connection ends before all of them are there; DOMException AbortError.
 */
export async function* generate(body: Body, signal: AbortSignal): AsyncGenerator<StreamEvent> {
  const response = await request('/v1/images/generations', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true, progress: true, partial_images: 3 }),
    signal,
  });
  const messages = response
    .body!.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, BufferSource>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  let missing = 1;
  const read = () => messages.read().catch(unreached);
  for (let next = await read(); !next.done; next = await read()) {
    const { event, data } = next.value;
    const fields = JSON.parse(data);
    if (event === 'error') throw errorOf(fields, 0);
    const sent: StreamEvent = { ...fields, type: event!.split('.')[1] };
    if (sent.type === 'completed') missing = sent.effective.seeds.length - 1 - sent.image_index;
    yield sent;
  }
  if (missing > 0) throw new RequestError('The connection ended before the picture was there');
}

async function request(path: string, init: RequestInit): Promise<Response> {
  const key = storedKey();
  const headers = { ...init.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(path, { ...init, headers }).catch(unreached);
  if (response.ok) return response;
  throw errorOf(await response.json().catch(() => ({})), response.status);
}

function unreached(error: Error): never {
  if (error.name === 'AbortError') throw error;
  throw new RequestError('The server cannot be reached');
}

function errorOf(
  reply: { error?: { message?: string; param?: string | null } },
  status: number,
): RequestError {
  const message = reply.error?.message ?? `The server answered with status ${status}`;
  return new RequestError(message, { status, param: reply.error?.param ?? null });
}
