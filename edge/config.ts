import type { GuardOptions } from './guard/guard.ts';
import { parseKeys } from './guard/keys.ts';
import { defaultJobLimits, type JobLimits } from './jobs/store.ts';
import { secretBytes } from './jobs/webhook-secret.ts';
import { defaultLimits, type Limits, MAX_IMAGE_BODY_BYTES } from './limits.ts';

/** What an operator sets, by environment variables on Node, by bindings on Workers; docs/deployment.md lists it. */
export interface Settings {
  /** Milliseconds an image request may take. */
  timeoutMs: number;
  limits: Limits;
  jobs: JobLimits;
  /** Results of seeded requests; 0 seconds: none are kept. */
  cache: { seconds: number; bytes: number; shared: boolean };
  /** Undefined: nobody is told of a job's end. */
  webhooks: { hosts: string[]; secret: string } | undefined;
  /** Whose pictures are fetched; `*`: any public host's; none: nobody's. */
  imageHosts: string[];
  guard: Omit<GuardOptions, 'limiter' | 'addressOf'>;
  /** Requests that make work, for each caller; undefined: as many as there are. */
  perMinute: number | undefined;
}

export type Environment = Record<string, unknown>;

/** @throws Error saying which setting is wrong, and how. */
export function readSettings(env: Environment): Settings {
  const keys = parseKeys(text(env, 'API_KEYS') ?? '[]', 'API_KEYS');
  const hosts = list(env, 'ALLOWED_HOSTS').map((host) => host.toLowerCase());
  return {
    timeoutMs: 1000 * wholeNumber(env, 'REQUEST_TIMEOUT_SECONDS', 1800, 86_400),
    limits: {
      imageBodyBytes: wholeNumber(env, 'MAX_BODY_BYTES', defaultLimits.imageBodyBytes, MAX_IMAGE_BODY_BYTES),
      replyPixels: wholeNumber(env, 'MAX_REPLY_PIXELS', defaultLimits.replyPixels, 2 ** 30),
    },
    jobs: {
      count: wholeNumber(env, 'JOBS_MAX', defaultJobLimits.count, 1_000_000),
      bytes: wholeNumber(env, 'JOBS_BYTES', defaultJobLimits.bytes, 2 ** 40),
      keepMs: 1000 * wholeNumber(env, 'JOBS_KEEP_SECONDS', defaultJobLimits.keepMs / 1000, 30 * 86_400),
    },
    cache: {
      seconds: wholeNumber(env, 'CACHE_SECONDS', 3600, 30 * 86_400),
      bytes: wholeNumber(env, 'CACHE_BYTES', 64 * 2 ** 20, 2 ** 40),
      shared: flag(env, 'CACHE_SHARED'),
    },
    webhooks: webhooksOf(env),
    imageHosts: list(env, 'IMAGE_HOSTS').map((host) => host.toLowerCase()),
    guard: {
      keys,
      allowedOrigins: list(env, 'ALLOWED_ORIGINS'),
      // Who has to know a key gains nothing by pointing a name here.
      allowedHosts: keys.length > 0 && hosts.length === 0 ? undefined : hosts,
    },
    perMinute: wholeNumber(env, 'RATE_LIMIT_PER_MINUTE', 0, 1_000_000) || undefined,
  };
}

function webhooksOf(env: Environment): Settings['webhooks'] {
  const hosts = list(env, 'WEBHOOK_HOSTS').map((host) => host.toLowerCase());
  const secret = text(env, 'WEBHOOK_SECRET');
  if (hosts.length === 0) return undefined;
  if (!secret || secret.length < 16)
    throw new Error('expected 16 characters at least for WEBHOOK_SECRET, as there are WEBHOOK_HOSTS');
  secretBytes(secret);
  return { hosts, secret };
}

export function text(env: Environment, name: string): string | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : String(value);
}

/** Separated by commas. */
export function list(env: Environment, name: string): string[] {
  const all = (text(env, name) ?? '').split(',').map((each) => each.trim());
  return all.filter((each) => each !== '');
}

export function flag(env: Environment, name: string): boolean {
  const value = text(env, name) ?? 'false';
  if (value !== 'true' && value !== 'false') throw expected('true or false', name, value);
  return value === 'true';
}

export function wholeNumber(env: Environment, name: string, fallback: number, max: number): number {
  const value = text(env, name);
  if (value === undefined) return fallback;
  if (!/^\d+$/.test(value) || Number(value) > max)
    throw expected(`a whole number from 0 to ${max}`, name, value);
  return Number(value);
}

function expected(what: string, name: string, received: string): Error {
  return new Error(`expected ${what} for ${name} but received ${JSON.stringify(received)}`);
}
