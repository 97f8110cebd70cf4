import { z } from '@hono/zod-openapi';

/** Characters of a prompt, at most. CLIP takes about 300 of them at once. */
export const MAX_PROMPT = 32_000;

/** Text that can be encoded: no NUL, no half of a surrogate pair. */
export const text = z
  .string()
  .max(MAX_PROMPT)
  .refine((value) => !/[\0\p{Surrogate}]/u.test(value), 'well-formed text without NUL');

/** What the server names: a model, an adapter, a sampler. */
export const name = z.string().min(1).max(256);
