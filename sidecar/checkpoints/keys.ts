/** Parts of models that have parameters. A model without a prompt has an unconditional_unet for its unet. */
export type Part =
  | 'text_encoder'
  | 'text_encoder_2'
  | 'unet'
  | 'controlnet'
  | 'unconditional_unet'
  | 'vae'
  | 'vqvae'
  | 'taesd';

// Attention over pixels in folders from before diffusers 0.17.
const oldAttention: Record<string, string> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
};

// Parameters that no output depends on: buffers, and the rest of a CLIPModel around its text transformer.
const outsideText = /position_ids$|^logit_scale$|^vision_model\.|^visual_projection\./;

/**
 * A checkpoint's key as the models name it: diffusers' and transformers' newest naming, the text encoder without
 * `text_model.`.
 * @returns undefined for tensors that are not needed.
 */
export function canonicalKey(part: Part, key: string): string | undefined {
  if (part === 'text_encoder' || part === 'text_encoder_2') {
    if (outsideText.test(key) || (part === 'text_encoder' && key.startsWith('text_projection.')))
      return undefined;
    return key.replace(/^text_model\./, '');
  }
  return key.replace(
    /(\.attentions\.\d+\.)(query|key|value|proj_attn)\./,
    (_, at, old) => `${at}${oldAttention[old]}.`,
  );
}
