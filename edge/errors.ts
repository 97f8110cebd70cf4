import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { z } from 'zod';
import { SidecarError } from './sidecar/client.ts';

/** `error` of a reply, as OpenAI's API shapes it. */
export interface ErrorBody {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
}

/** Of statuses that are tried again, what would cost the same once more, or be the same. */
const final = new Set(['deadline_exceeded', 'not_implemented', 'job_cancelled', 'job_lost']);

/** An error with its HTTP status; its message is meant for the caller. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(
    status: number,
    code: string,
    message: string,
    { param, retryAfterMs, cause }: { param?: string; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfterMs = retryAfterMs;
  }

  body(): { error: ErrorBody } {
    const { message, status, param = null, code } = this;
    return { error: { message, type: errorType(status), param, code } };
  }

  headers(): Record<string, string> {
    // What is left of the body is not read: no other request can follow it.
    if (this.status === 413) return { connection: 'close' };
    // For OpenAI's clients, which try again by themselves.
    if (this.retryAfterMs === undefined) return final.has(this.code) ? { 'x-should-retry': 'false' } : {};
    return {
      'retry-after-ms': String(this.retryAfterMs),
      'retry-after': String(Math.ceil(this.retryAfterMs / 1000)),
    };
  }
}

/** `Expected X for name but received Y`, with the parameter at fault. */
export function invalid(param: string, expected: string, received: unknown): ApiError {
  return unexpected(param, expected, show(received));
}

/** The same, with what was received in words. */
export function unexpected(param: string, expected: string, received: string): ApiError {
  const message = `Expected ${expected} for ${param} but received ${received}`;
  return new ApiError(400, 'invalid_argument', message, { param });
}

/** Names of fields in messages and replies, where the route's are not the contract's. */
export type PublicNames = Record<string, string>;

const publicNames: PublicNames = {
  ...{ seeds: 'seed', count: 'n', width: 'size', height: 'size', adapters: 'loras' },
  ...{ format: 'output_format', quality: 'output_compression' },
};

/** The API's name of a field of the contract. */
export function publicName(field: string, names: PublicNames = {}): string {
  return names[field] ?? publicNames[field] ?? field;
}

/**
 * Whatever was thrown, as the error to answer with.
 * @param names those of the route, where they differ from those of the others.
 */
export function toApiError(error: unknown, names?: PublicNames): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof SidecarError) {
    const { httpStatus, code, field, retryAfterMs } = error;
    const param = field && publicName(field, names);
    const message = param ? error.message.replace(` for ${field} `, ` for ${param} `) : error.message;
    return new ApiError(httpStatus, code, message, { param, retryAfterMs, cause: error });
  }
  if (error instanceof HTTPException && error.status < 500)
    return new ApiError(error.status, 'invalid_request', error.message || 'The request is malformed', {
      cause: error,
    });
  return new ApiError(500, 'internal', 'An internal error occurred', { cause: error });
}

export function errorResponse(c: Context, error: ApiError): Response {
  // What clients of A1111's routes show.
  const detail = /^\/(sdapi|controlnet)\//.test(c.req.path) ? { detail: error.message } : {};
  // 499 is not in the registry, but what proxies log for a caller who left.
  return c.json({ ...error.body(), ...detail }, error.status as ContentfulStatusCode, error.headers());
}

/**
 * The first of zod's findings, as one sentence.
 * @param prefix of the parameter's name: where in the body `input` stands.
 * @param schema that it was held against: where a field is missing, those that are not known are named too.
 */
export function fromZod(error: z.ZodError, input: unknown, prefix = '', schema?: z.ZodType): ApiError {
  const issue = error.issues[0]!;
  const param = prefix + pathOf(issue.path);
  const received = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | null)?.[key],
    input,
  );
  if (param === '')
    return new ApiError(400, 'invalid_argument', `Expected a JSON object but received ${show(input)}`);
  if (issue.code === 'custom' && typeof issue.params?.received === 'string')
    return unexpected(param, issue.message, issue.params.received);
  // Of what is within a field, the schema's own fields say nothing.
  const isMissing = received === undefined && issue.path.length === 1;
  const unknown = isMissing && schema instanceof z.ZodObject ? unknownFields(input, schema) : [];
  if (unknown.length === 0) return invalid(param, expectation(issue), received);
  return unexpected(param, expectation(issue), `nothing; not known here: ${unknown.join(', ')}`);
}

/** Names of fields that the schema does not have, as a message shows them. */
function unknownFields(input: unknown, { shape }: z.ZodObject): string[] {
  const unknown = Object.keys(input as object).filter((name) => !Object.hasOwn(shape, name));
  return unknown.slice(0, 16).map((name) => show(name.slice(0, 64)));
}

/** `control[0].image` */
function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.expected === 'int') return 'a whole number';
      return `${/^[aeiou]/.test(issue.expected) ? 'an' : 'a'} ${issue.expected}`;
    case 'too_small':
      return issue.origin === 'string' ? 'some text' : `at least ${issue.minimum}`;
    case 'too_big':
      return issue.origin === 'string' ? `at most ${issue.maximum} characters` : `at most ${issue.maximum}`;
    case 'invalid_union':
      return issue.message === ZODS_OWN ? unionOf(issue) : issue.message;
    case 'invalid_value':
      return `one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    default:
      return issue.message;
  }
}

/** What zod says where a schema has no words of its own. */
const ZODS_OWN = 'Invalid input';

/** What the alternatives expect, each once. */
function unionOf({ errors }: z.core.$ZodIssueInvalidUnion): string {
  const expected = errors.flatMap(([first]) => (first ? [expectation(first)] : []));
  return [...new Set(expected)].join(' or ') || 'another value';
}

/** What JSON has no words for. Files are not written out: each of their bytes would be a number. */
function shown(_: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return `a file of ${value.length} bytes`;
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

function errorType(status: number): string {
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : (JSON.stringify(value, shown) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77)}… (${text.length} characters)` : text;
}
