import { z } from '@hono/zod-openapi';

export const errorReply = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string().nullable(),
    }),
  })
  .openapi('Error');

export const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});

/** Replies that any route may give. */
export const errorReplies = {
  400: json(errorReply, 'A field is missing, of the wrong type or out of range; `param` names it.'),
  404: json(errorReply, 'There is no such model.'),
  413: json(errorReply, 'The body is too large.'),
  415: json(errorReply, 'The body is not JSON.'),
  422: json(errorReply, 'The model’s files cannot be used.'),
  429: json(errorReply, 'The queue is full, or the caller’s limit is reached; `retry-after`.'),
  500: json(errorReply, 'A fault of the server.'),
  503: json(errorReply, 'The sidecar cannot be reached, or has no memory left.'),
  504: json(errorReply, 'The deadline passed.'),
} as const;

/** Replies of what stands before every route, and of the way to the sidecar. */
export const openReplies = {
  403: json(errorReply, 'The key’s scope, the origin or the host name is not allowed.'),
  500: errorReplies[500],
} as const;
export const guardReplies = {
  401: json(errorReply, 'There is no key, or one that is not known.'),
  ...openReplies,
  502: json(errorReply, 'The sidecar does not take this server’s token.'),
  503: errorReplies[503],
  504: errorReplies[504],
} as const;

export const modelObject = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: z.int().openapi({ description: 'Seconds since 1970.' }),
    owned_by: z.string(),
    kind: z.string().openapi({
      description:
        'latent-diffusion; without the defaults below: controlnet, named in `control`, and autoencoder, in `decoder` and `preview_decoder`.',
    }),
    family: z.string(),
    default: z.boolean(),
    loaded: z.boolean(),
    bytes: z.int(),
    model_hash: z.string().optional().openapi({
      description: 'SHA-256 of its tensors, once it has been loaded: what results call it.',
    }),
    size: z.string().optional().openapi({ description: 'Default WIDTHxHEIGHT.' }),
    steps: z.int().optional(),
    guidance_scale: z.number().optional(),
    sampler: z.string().optional(),
  })
  .openapi('Model');

export const modelList = z
  .object({ object: z.literal('list'), data: z.array(modelObject) })
  .openapi('ModelList');

export const healthReply = z
  .object({
    status: z.enum(['ok', 'unavailable']),
    sidecar: z.object({
      reachable: z.boolean(),
      devices: z.array(z.string()),
      running: z.int(),
      queued: z.int(),
      steps_run: z.int(),
    }),
  })
  .openapi('Health');
