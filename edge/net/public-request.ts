import { lookup } from 'node:dns/promises';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

// Requests to addresses that callers name, on Node: to public ones alone. A name is resolved once, every address of it
// is looked at, and the connection goes to one of these, so that no second answer of the resolver's leads elsewhere.

export interface PublicRequest {
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: string;
  /** Bytes of the reply, at most. */
  maxBytes: number;
  /** Milliseconds for all of it. */
  timeoutMs: number;
  /** How often it may be sent on; default: not at all. */
  redirects?: number;
  /** Which hosts may be asked, here and wherever it is sent on; default: any. */
  isNamed?: (host: string) => boolean;
  /** Default: the system's resolver. */
  resolve?: (host: string) => Promise<string[]>;
  /** Default: `isPublic`. */
  isAllowed?: (address: string) => boolean;
}

export interface PublicReply {
  status: number;
  type: string;
  body: Buffer;
}

/** @throws Error saying, for the caller, what was not right; nothing of what is there. */
export async function publicRequest(url: URL, options: PublicRequest): Promise<PublicReply> {
  const signal = AbortSignal.timeout(options.timeoutMs);
  let at = url;
  for (let left = options.redirects ?? 0; ; left--) {
    const reply = await once(at, options, signal);
    if (!reply.location) return reply;
    if (left <= 0) throw new Error(`${url.host} sends requests on, too often or at all`);
    if (!URL.canParse(reply.location, at)) throw new Error(`${at.host} sends requests on to no address`);
    at = new URL(reply.location, at);
  }
}

/** @returns the reply's status. */
export async function postWebhook(url: URL, body: string, headers: Record<string, string>): Promise<number> {
  const limits = { maxBytes: 65_536, timeoutMs: 10_000 };
  return (await publicRequest(url, { method: 'POST', headers, body, ...limits })).status;
}

async function once(
  url: URL,
  options: PublicRequest,
  signal: AbortSignal,
): Promise<PublicReply & { location?: string | undefined }> {
  const { method = 'GET', headers, body, maxBytes } = options;
  const { isNamed = () => true, resolve = resolveAll, isAllowed = isPublic } = options;
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new Error(`Expected an http or https address but received ${url.protocol}`);
  if (url.username || url.password) throw new Error('Expected an address without user and password');
  if (!isNamed(url.hostname)) throw new Error(`${url.host} is none of the hosts that may be asked`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const addresses = ipaddr.isValid(host) ? [host] : await within(signal, url, resolve(host));
  if (addresses.length === 0 || !addresses.every(isAllowed))
    throw new Error(`${url.host} is no public address`);
  const send = url.protocol === 'https:' ? requestHttps : requestHttp;
  const call = send(url, { method, headers, signal, agent: false, lookup: pinned(addresses[0]!) });
  const reply = new Promise<PublicReply & { location?: string | undefined }>((done, fail) => {
    call.on('error', fail);
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('error', fail);
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= maxBytes) return void chunks.push(chunk);
        fail(new Error(`${url.host} sends more than ${maxBytes} bytes`));
        call.destroy();
      });
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response;
        const location = status >= 300 && status < 400 ? headers.location : undefined;
        done({ status, location, type: headers['content-type'] ?? '', body: Buffer.concat(chunks) });
      });
    });
  });
  call.end(body);
  return within(signal, url, reply);
}

/** In words that tell no more of a network than that there was no answer. */
async function within<T>(signal: AbortSignal, url: URL, promise: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  try {
    return await Promise.race([promise, late]);
  } catch (error) {
    if (signal.aborted) throw new Error(`${url.host} takes too long`, { cause: error });
    const { message } = error as Error;
    throw new Error(message.startsWith(url.host) ? message : `${url.host} cannot be reached`, {
      cause: error,
    });
  }
}

async function resolveAll(host: string): Promise<string[]> {
  return (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address);
}

function pinned(address: string): LookupFunction {
  const family = ipaddr.parse(address).kind() === 'ipv6' ? 6 : 4;
  return (_, { all }, done) => {
    if (all) done(null, [{ address, family }]);
    else done(null, address, family);
  };
}

/** Neither loopback, private, link-local, nor any other range with a meaning of its own, also as IPv6 writes them. */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  // What is handed out of IPv6: 2000::/3.
  if (parsed instanceof ipaddr.IPv6 && parsed.parts[0]! >> 13 !== 1) return false;
  return parsed.range() === 'unicast';
}
