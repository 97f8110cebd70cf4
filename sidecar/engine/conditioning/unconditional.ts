import type { Encoded } from './index.ts';

/** A model without a prompt (arXiv:2112.10752, section 4.1): its U-Net is told nothing but the time. */
export async function encodeNothing(): Promise<Encoded> {
  const inputs = () => ({ encoder_hidden_states: new Float32Array() });
  const conditioning = { texts: 1, contexts: async () => [{}], inputs };
  return { conditioning, textTokens: 0, cutTokens: { prompt: 0, negative_prompt: 0 } };
}
