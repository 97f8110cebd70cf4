import { HubApiError, listFiles } from '@huggingface/hub';
import { HubError } from './error.ts';
import { type HubFile, isSafePath } from './files.ts';

export interface HubOptions {
  /** Default: HF_ENDPOINT, else the hub. */
  endpoint?: string;
  /** Default: HF_TOKEN. */
  token?: string;
  signal?: AbortSignal;
}

/** A repository at a revision. */
export interface Repository {
  repo: string;
  revision: string;
}

/** What comes of a file, and from which byte on. */
export interface Body {
  from: number;
  bytes: AsyncIterable<Uint8Array>;
}

/** What the hub is asked for: lists of files, and their bytes. */
export class Hub {
  readonly endpoint: string;
  readonly #token: string | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor({ endpoint, token, signal }: HubOptions = {}) {
    this.endpoint = parseEndpoint(endpoint || process.env.HF_ENDPOINT || 'https://huggingface.co');
    this.#token = token || process.env.HF_TOKEN || undefined;
    this.#signal = signal;
  }

  /**
   * All files of a repository.
   * @throws HubError, also for names that lead out of the folder they would be written to.
   */
  async files({ repo, revision }: Repository): Promise<HubFile[]> {
    const files: HubFile[] = [];
    const listed = listFiles({
      ...{ repo, revision: encodeURIComponent(revision), recursive: true },
      ...{ hubUrl: this.endpoint, fetch: this.#fetch },
    });
    try {
      for await (const { type, path, size, oid, lfs } of listed) {
        if (type !== 'file') continue;
        if (typeof path !== 'string' || !isSafePath(path))
          throw new HubError(
            `Expected names of files inside ${repo} but received ${JSON.stringify(path)} from ${this.endpoint}`,
          );
        if (!Number.isSafeInteger(size) || size < 0 || files.length >= 100_000)
          throw new HubError(
            `Expected the size of ${path} but received ${JSON.stringify(size)} from ${this.endpoint}`,
          );
        files.push({ path, size, hash: hashOf(lfs?.oid, oid) });
      }
    } catch (error) {
      throw this.#explained(error, `${repo} at revision ${revision}`, repo);
    }
    return files;
  }

  /**
   * A file's bytes from `offset` on, or from its beginning where the server cannot do otherwise. The library's own
   * downloads begin anew when they are cut.
   * @throws HubError where trying again makes no sense.
   */
  async read({ repo, revision }: Repository, path: string, offset: number): Promise<Body> {
    const name = path.split('/').map(encodeURIComponent).join('/');
    const url = `${this.endpoint}/${repo}/resolve/${encodeURIComponent(revision)}/${name}`;
    // As it is, so that offsets are the file's.
    const headers = { 'Accept-Encoding': 'identity', ...(offset > 0 && { Range: `bytes=${offset}-` }) };
    const response = await this.#fetch(url, { headers });
    const { status, body } = response;
    if ((status === 200 || (status === 206 && offset > 0)) && body)
      return { from: status === 206 ? offset : 0, bytes: body };
    await body?.cancel();
    const error = new HubApiError(url, status);
    error.message = `status ${status}`;
    throw status === 429 || status >= 500 ? error : this.#explained(error, `${path} of ${repo}`, repo);
  }

  /** The token goes to the hub itself, and to nobody it refers to. */
  readonly #fetch: typeof fetch = (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (this.#token && url.origin === new URL(this.endpoint).origin)
      headers.set('Authorization', `Bearer ${this.#token}`);
    return fetch(input, { ...init, headers, signal: this.#signal ?? null });
  };

  #explained(error: unknown, what: string, repo: string): unknown {
    if (error instanceof HubError || this.#signal?.aborted) return error;
    if (!(error instanceof HubApiError))
      return new HubError(
        `Expected an answer from ${this.endpoint} but the connection failed (${reasonOf(error)})`,
        { cause: error },
      );
    const { statusCode: status } = error;
    if (status !== 401 && status !== 403 && status !== 404)
      return new HubError(`Expected ${what} from ${this.endpoint} but received status ${status}`, {
        cause: error,
      });
    if (status === 404)
      return new HubError(`Expected ${what} on ${this.endpoint} but there is none (404)`, { cause: error });
    const reason = this.#token
      ? `the token in HF_TOKEN may not read it, or its terms have to be accepted at ${this.endpoint}/${repo}`
      : 'it does not exist, or is private or gated: set HF_TOKEN to a token that may read it';
    return new HubError(
      `Expected access to ${repo} on ${this.endpoint} but received status ${status}: ${reason}`,
      { cause: error },
    );
  }
}

/** What lies beneath "fetch failed". */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

function parseEndpoint(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text.replace(/\/+$/, '');
  throw new HubError(`Expected a URL of http or https for HF_ENDPOINT but received ${JSON.stringify(text)}`);
}

function hashOf(sha256: unknown, git: unknown): HubFile['hash'] {
  if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256)) return { type: 'sha256', hex: sha256 };
  if (typeof git === 'string' && /^[0-9a-f]{40}$/.test(git)) return { type: 'git', hex: git };
  return undefined;
}
