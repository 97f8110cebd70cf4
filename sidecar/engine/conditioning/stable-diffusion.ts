import { finite } from '../finite.ts';
import type { Model } from '../model.ts';
import type { Encoded, Exclusive, Prompts } from './index.ts';
import { TextConditioning } from './text.ts';

/**
 * Stable Diffusion 1.x and 2.x (arXiv:2112.10752, section 3.3): one text encoder, whose last hidden state is what
 * cross-attention looks at. As in the reference, the negative prompt goes through all layers whatever `clipSkip` is.
 */
export async function encodeStableDiffusion(
  model: Model,
  { prompt, negativePrompt, guidanceScale, clipSkip }: Prompts,
  exclusive: Exclusive,
): Promise<Encoded> {
  const clip = model.textEncoders[0]!;
  const encode = async (text: string, skip: number) => {
    const { ids, used, cut } = clip.tokenize(text);
    const states = await exclusive(() => clip.lastHiddenState(ids, 1, skip));
    return { states: finite(states, 'the text encoding', model), used, cut };
  };
  const positive = await encode(prompt, clipSkip);
  const negative = guidanceScale > 1 ? await encode(negativePrompt, 0) : undefined;
  return {
    conditioning: new TextConditioning(model.denoiser, negative ? [negative, positive] : [positive]),
    textTokens: positive.used + (negative?.used ?? 0),
    cutTokens: { prompt: positive.cut, negative_prompt: negative?.cut ?? 0 },
  };
}
