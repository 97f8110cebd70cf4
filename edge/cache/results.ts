import type { GenerateRequest, Result, SidecarClient } from '../sidecar/client.ts';
import { requestDigest, toHex } from '../sidecar/request-digest.ts';

/** What was made of a seeded request: the same again, byte for byte. */
export interface StoredResult {
  /** Seconds since 1970. */
  created: number;
  /** What the edge itself had set aside. */
  ignored: string[];
  result: Result;
}

/** Where results are kept, for as long as it sees fit. */
export interface ResultStore {
  get(key: string): Promise<StoredResult | undefined>;
  /** @returns whether it is kept. */
  put(key: string, stored: StoredResult): Promise<boolean>;
}

export interface CacheOptions {
  store: ResultStore;
  /** How long a reply may be kept by whoever has it. */
  seconds: number;
  /** Whether callers get what others have asked for. */
  shared: boolean;
}

/** How long what the sidecar has of models is taken for granted. */
const LISTING_MS = 10_000;

/** Results of seeded requests, by the request and the models there are. */
export class ResultCache {
  readonly seconds: number;
  readonly shared: boolean;
  readonly #store: ResultStore;
  readonly #sidecar: SidecarClient;
  #listing: { text: string; until: number } | undefined;

  constructor(sidecar: SidecarClient, { store, seconds, shared }: CacheOptions) {
    this.#sidecar = sidecar;
    this.#store = store;
    this.seconds = seconds;
    this.shared = shared;
  }

  /**
   * What a request's result is kept under: SHA-256 over the request as it goes to the sidecar, what is reported as
   * ignored, and names, sizes, dates and storage of all models, and of learned words. Undefined for one with adapters,
   * whose files are not listed.
   */
  async hashOf(request: GenerateRequest, ignored: string[]): Promise<string | undefined> {
    if (request.adapters?.length) return undefined;
    const rest = new TextEncoder().encode(JSON.stringify([ignored, await this.#models()]));
    const all = new Uint8Array([...(await requestDigest(request)), ...rest]);
    return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', all)));
  }

  get(hash: string, caller: string): Promise<StoredResult | undefined> {
    return this.#store.get(this.#key(hash, caller));
  }

  /** @returns whether it is kept. */
  put(hash: string, caller: string, stored: StoredResult): Promise<boolean> {
    return this.#store.put(this.#key(hash, caller), stored);
  }

  #key(hash: string, caller: string): string {
    return this.shared ? hash : `${caller}/${hash}`;
  }

  async #models(): Promise<string> {
    if (!this.#listing || this.#listing.until < Date.now()) {
      const [models, { embeddings }] = await Promise.all([
        this.#sidecar.listModels({ timeoutMs: LISTING_MS }),
        this.#sidecar.listNames({ timeoutMs: LISTING_MS }),
      ]);
      const text = JSON.stringify([
        models.map(({ name, bytes, created, isDefault, weights }) => [
          name,
          bytes,
          created,
          isDefault,
          weights,
        ]),
        embeddings.map(({ name, bytes, modifiedMs }) => [name, bytes, modifiedMs]),
      ]);
      this.#listing = { text, until: Date.now() + LISTING_MS };
    }
    return this.#listing.text;
  }
}
