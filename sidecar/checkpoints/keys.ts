/** Parts of a model that have parameters. */
export type Part = 'text_encoder' | 'unet' | 'vae';

// The VAE's attention in folders from before diffusers 0.17.
const vaeAttention: Record<string, string> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
};

// Parameters that no output depends on: buffers, and the rest of a CLIPModel around its text transformer.
const ignored: Record<Part, RegExp> = {
  text_encoder: /position_ids$|^logit_scale$|^vision_model\.|^visual_projection\.|^text_projection\./,
  unet: /^$/,
  vae: /^$/,
};

/**
 * A checkpoint's key as the models name it: diffusers' and transformers' newest naming, the text encoder without
 * `text_model.`.
 * @returns undefined for tensors that are not needed.
 */
export function canonicalKey(part: Part, key: string): string | undefined {
  if (ignored[part].test(key)) return undefined;
  if (part === 'text_encoder') return key.replace(/^text_model\./, '');
  if (part === 'vae')
    return key.replace(
      /(\.attentions\.\d+\.)(query|key|value|proj_attn)\./,
      (_, at, old) => `${at}${vaeAttention[old]}.`,
    );
  return key;
}
