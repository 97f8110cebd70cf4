import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { diffusionService, fromMessage, toMessage } from '../../proto/web.ts';
import { ApiError } from '../errors.ts';
import type { Result } from '../sidecar/client.ts';
import type { Job } from './job.ts';
import type { JobArchive } from './store.ts';

/** SQLite of a Durable Object: it answers at once. */
export interface Sql {
  exec(query: string, ...bindings: (string | number | Uint8Array)[]): Iterable<Record<string, unknown>>;
}

/** Of a Durable Object's storage, as much as is used of it. */
export interface SqlStorage {
  sql: Sql;
  /** What is done within, or nothing of it where that throws. */
  transactionSync<T>(closure: () => T): T;
}

/** Bytes of a row, which are 2 MB at most. */
const PIECE = 2 ** 20;

/** Parts of a job: what is known of it, the result without its pictures, and these from there on. */
const [RECORD, RESULT, PICTURES] = [0, 1, 2];

const resultType = diffusionService.method.generate.output.field.result!.message!;
const nothing = new Uint8Array();

type Known = Omit<Job, 'isFinished' | 'preview' | 'error' | 'result' | 'cancel'>;
interface JobRecord extends Known {
  error?: Pick<ApiError, 'status' | 'code' | 'message' | 'param' | 'retryAfterMs'> | undefined;
}

/** Jobs in a database, in pieces that it takes. */
export class SqlArchive implements JobArchive {
  readonly #storage: SqlStorage;
  readonly #sql: Sql;

  constructor(storage: SqlStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.#sql.exec(
      `CREATE TABLE IF NOT EXISTS parts
       (id TEXT, part INTEGER, piece INTEGER, bytes BLOB, PRIMARY KEY (id, part, piece)) WITHOUT ROWID`,
    );
  }

  all(): Job[] {
    const ids = [...this.#sql.exec('SELECT DISTINCT id FROM parts')].map(({ id }) => id as string);
    return ids.flatMap((id) => {
      const record = this.#record(id);
      if (record) return this.#kept(record.finished === undefined ? this.#lost(record) : record);
      this.delete(id);
      return [];
    });
  }

  put(job: Job): Job {
    const record = recordOf(job);
    const { result } = job;
    this.#storage.transactionSync(() => {
      this.#write(job.id, RECORD, utf8(record));
      if (!result) return;
      const images = result.images.map((image) => ({ ...image, data: nothing }));
      this.#write(job.id, RESULT, toBinary(resultType, toMessage(resultType, { ...result, images })));
      for (const [i, { data }] of result.images.entries()) this.#write(job.id, PICTURES + i, data);
    });
    return this.#kept(record);
  }

  told({ id }: Job): void {
    const record = this.#record(id);
    if (record) this.#replace({ ...record, webhook: undefined });
  }

  delete(id: string): void {
    this.#sql.exec('DELETE FROM parts WHERE id = ?', id);
  }

  /** What was under way when its process ended. */
  #lost(record: JobRecord): JobRecord {
    const message = 'The job was lost, as what ran it has been restarted: send it again';
    const error = { status: 500, code: 'job_lost', message, param: undefined, retryAfterMs: undefined };
    // What is sent again, with the same key too, is another job.
    const ended = { finished: Date.now(), idempotencyKey: undefined };
    const lost: JobRecord = { ...record, ...ended, status: 'failed', error };
    try {
      this.#replace(lost);
    } catch (error) {
      // Without room for it, it is as it was, and found so the next time.
      console.error(error);
    }
    return lost;
  }

  #kept(record: JobRecord): Job {
    const { error, ...known } = record;
    const result = () => this.#result(known.id);
    return {
      ...known,
      isFinished: known.finished !== undefined,
      preview: undefined,
      error: error && new ApiError(error.status, error.code, error.message, error),
      get result() {
        return known.status === 'succeeded' ? result() : undefined;
      },
      cancel() {},
    };
  }

  /** Undefined: it is not there, or not whole. */
  #record(id: string): JobRecord | undefined {
    try {
      return JSON.parse(new TextDecoder().decode(this.#read(id, RECORD)));
    } catch {
      return undefined;
    }
  }

  #replace(record: JobRecord): void {
    this.#storage.transactionSync(() => this.#write(record.id, RECORD, utf8(record)));
  }

  #result(id: string): Result {
    const result = fromMessage(
      resultType,
      fromBinary(resultType, this.#read(id, RESULT)),
    ) as unknown as Result;
    for (const [i, image] of result.images.entries()) image.data = this.#read(id, PICTURES + i) as Buffer;
    return result;
  }

  #write(id: string, part: number, bytes: Uint8Array): void {
    this.#sql.exec('DELETE FROM parts WHERE id = ? AND part = ?', id, part);
    for (let piece = 0; piece * PIECE < bytes.length; piece++) {
      const slice = bytes.subarray(piece * PIECE, (piece + 1) * PIECE);
      this.#sql.exec('INSERT INTO parts VALUES (?, ?, ?, ?)', id, part, piece, slice);
    }
  }

  #read(id: string, part: number): Uint8Array {
    const query = 'SELECT bytes FROM parts WHERE id = ? AND part = ? ORDER BY piece';
    const pieces = [...this.#sql.exec(query, id, part)].map(({ bytes }) => bytes as ArrayBuffer);
    const whole = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
    let at = 0;
    for (const piece of pieces) {
      whole.set(new Uint8Array(piece), at);
      at += piece.byteLength;
    }
    return whole;
  }
}

function recordOf(job: Job): JobRecord {
  const { id, owner, ignored, idempotencyKey, fingerprint, webhook, created, finished } = job;
  const { status, step, total, bytes, error } = job;
  return {
    ...{ id, owner, ignored, idempotencyKey, fingerprint, webhook, created, finished },
    ...{ status, step, total, bytes },
    error: error && {
      ...{ status: error.status, code: error.code, message: error.message },
      ...{ param: error.param, retryAfterMs: error.retryAfterMs },
    },
  };
}

const utf8 = (record: JobRecord) => new TextEncoder().encode(JSON.stringify(record));
