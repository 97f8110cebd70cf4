import { ApiError } from '../errors.ts';
import { jobOf } from '../schema/job.ts';
import type { Job } from './job.ts';
import { secretBytes } from './webhook-secret.ts';

export interface WebhookOptions {
  /** Hosts that may be told, `hooks.example.org`. */
  hosts: readonly string[];
  /** What messages are signed with; the receiver has it too. */
  secret: string;
  /** Posts to public addresses alone, and to no other place that it may be sent on to. */
  post: (url: URL, body: string, headers: Record<string, string>) => Promise<number>;
  /** Milliseconds before each further try. */
  pauses?: readonly number[];
  log?: (message: string) => void;
}

/** Before a job begins: whether its end may be told there. @throws ApiError */
export function checkWebhook(url: string, options: WebhookOptions | undefined): URL {
  if (!options) throw refused('no webhook, as this server has none switched on (WEBHOOK_HOSTS)', url);
  const { protocol, hostname, username, password } = new URL(url);
  if (protocol !== 'https:' || username || password) throw refused('an https address without a user', url);
  if (!options.hosts.includes(hostname)) throw refused(`one of the hosts ${options.hosts.join(', ')}`, url);
  return new URL(url);
}

/**
 * Tells of a job's end, signed as Standard Webhooks (standardwebhooks.com) are: HMAC-SHA256 over id, time and body.
 * What does not arrive is tried again a few times.
 */
export async function callWebhook(job: Job, url: URL, options: WebhookOptions): Promise<void> {
  const { pauses = [1000, 5000, 30_000], log = () => {} } = options;
  const body = JSON.stringify({ type: `job.${job.status}`, data: jobOf(job) });
  for (const pause of [0, ...pauses]) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    const time = String(Math.floor(Date.now() / 1000));
    const headers = {
      'content-type': 'application/json',
      'webhook-id': job.id,
      'webhook-timestamp': time,
      'webhook-signature': `v1,${await sign(options.secret, `${job.id}.${time}.${body}`)}`,
    };
    try {
      const status = await options.post(url, body, headers);
      if (status >= 200 && status < 300) return;
      log(`webhook of ${job.id}: ${url.host} answered ${status}`);
    } catch (error) {
      log(`webhook of ${job.id}: ${(error as Error).message}`);
    }
  }
}

async function sign(secret: string, text: string): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', secretBytes(secret), algorithm, false, ['sign']);
  const signature = new Uint8Array(await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(text)));
  return btoa(String.fromCharCode(...signature));
}

function refused(expected: string, url: string): ApiError {
  const message = `Expected ${expected} for webhook.url but received ${JSON.stringify(url.slice(0, 80))}`;
  return new ApiError(400, 'invalid_argument', message, { param: 'webhook.url' });
}
