import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A repository of a hub: bytes by path. */
export type HubRepository = Record<string, Buffer | string>;

export interface FakeHubOptions {
  /** What may be read with this token only. */
  token?: string;
  /** Bytes after which each of that many first answers is cut. */
  cut?: { after: number; times: number };
  /** Paths whose bytes are not what the list says. */
  damaged?: string[];
  /** Whether parts are sent; without it always the whole. */
  ranges?: boolean;
  /** Files of one page of a list. */
  page?: number;
  /** Another server that files are to be fetched from. */
  storage?: string;
  /** Names added to the lists. */
  listed?: string[];
}

export interface FakeHub {
  url: string;
  /** `GET path range`, and the token's presence, in order. */
  requests: { path: string; range: string | undefined; token: string | undefined }[];
  options: FakeHubOptions;
  stop(): Promise<void>;
}

/**
 * A server that speaks the part of the hub's protocol that pulling needs: lists of files by pages, with git's hash of
 * small files and SHA-256 of large ones; files by way of a redirect, with ranges; 401 and 404.
 * @param repositories by `OWNER/NAME@REVISION`
 */
export async function startHub(
  repositories: Record<string, HubRepository>,
  options: FakeHubOptions = {},
): Promise<FakeHub> {
  const hub: FakeHub = { url: '', requests: [], options, stop: async () => {} };
  const server = createServer((request, response) => answer(hub, repositories, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  hub.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  hub.stop = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return hub;
}

function answer(
  hub: FakeHub,
  repositories: Record<string, HubRepository>,
  request: IncomingMessage,
  response: ServerResponse,
) {
  const { options } = hub;
  const url = new URL(request.url!, hub.url);
  const token = request.headers.authorization?.replace('Bearer ', '');
  hub.requests.push({ path: url.pathname, range: request.headers.range, token });
  const fail = (status: number, error: string) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ error }));
  };
  if (options.token && token !== options.token) return fail(401, 'Invalid username or password.');
  const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^/]+)$/.exec(url.pathname);
  const file = /^\/([^/]+\/[^/]+)\/(?:resolve|bytes)\/([^/]+)\/(.+)$/.exec(url.pathname);
  const [, repo, revision, path] = (tree ?? file ?? []).map(decodeURIComponent);
  const files = repositories[`${repo}@${revision}`];
  if (!files) return fail(404, 'Repository not found');
  if (tree) return list(hub, files, url, response);
  const content = files[path!];
  if (content === undefined) return fail(404, 'Entry not found');
  if (url.pathname.includes('/resolve/')) {
    response.writeHead(302, {
      Location: `${options.storage ?? ''}${url.pathname.replace('/resolve/', '/bytes/')}`,
    });
    response.end();
  } else send(hub, path!, Buffer.from(content), request, response);
}

function list(
  { url: hub, options }: FakeHub,
  files: HubRepository,
  url: URL,
  response: ServerResponse,
): void {
  const all: object[] = Object.entries(files).map(([path, content]) => entry(path, Buffer.from(content)));
  for (const path of options.listed ?? []) all.push(entry(path, Buffer.from('x')));
  const from = Number(url.searchParams.get('cursor') ?? 0);
  const to = from + (options.page ?? 1000);
  const next = `<${hub}${url.pathname}?recursive=true&cursor=${to}>; rel="next"`;
  response.writeHead(200, {
    'Content-Type': 'application/json',
    ...(to < all.length && { Link: next }),
  });
  response.end(JSON.stringify(all.slice(from, to)));
}

function entry(path: string, content: Buffer): object {
  const git = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  const base = { type: 'file', path, size: content.length, oid: git };
  if (!path.endsWith('.safetensors')) return base;
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { ...base, lfs: { oid: sha256, size: content.length, pointerSize: 134 } };
}

function send(
  { options }: FakeHub,
  path: string,
  content: Buffer,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const bytes = options.damaged?.includes(path) ? Buffer.from(content.map((byte) => byte ^ 1)) : content;
  const match = options.ranges === false ? null : /^bytes=(\d+)-/.exec(request.headers.range ?? '');
  const from = Number(match?.[1] ?? 0);
  const body = bytes.subarray(from);
  response.writeHead(match ? 206 : 200, {
    'Content-Length': body.length,
    ...(match && { 'Content-Range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
  });
  const { cut } = options;
  if (cut && cut.times > 0 && body.length > cut.after) {
    cut.times--;
    // Not at once, as that would take with it what is on its way.
    response.write(body.subarray(0, cut.after), () => setTimeout(() => response.destroy(), 30));
  } else response.end(body);
}
