import { emphasize } from '../../text/emphasis.ts';
import { finite } from '../finite.ts';
import type { Model } from '../model.ts';
import type { Encoded, Exclusive, Prompts } from './index.ts';
import { type Reading, readTexts } from './reading.ts';
import { join, TextConditioning, type TextEncoding } from './text.ts';

/**
 * Stable Diffusion 1.x and 2.x (arXiv:2112.10752, section 3.3): one text encoder, whose last hidden state is what
 * cross-attention looks at. As in the reference, the negative prompt goes through all layers whatever `clipSkip` is.
 */
export async function encodeStableDiffusion(
  model: Model,
  prompts: Prompts,
  exclusive: Exclusive,
): Promise<Encoded> {
  const { prompt, negativePrompt, guidanceScale, clipSkip } = prompts;
  const encode = (reading: Reading, skip: number) => lastStates(model, reading, skip, exclusive);
  const texts = guidanceScale > 1 ? [prompt, negativePrompt] : [prompt];
  const [positive, negative] = await readTexts(model, texts, prompts);
  const encodings = [await encode(positive!, clipSkip)];
  if (negative) encodings.unshift(await encode(negative, 0));
  return {
    conditioning: new TextConditioning(model.denoiser, encodings),
    textTokens: positive!.used + (negative?.used ?? 0),
    cutTokens: { prompt: positive!.cut, negative_prompt: negative?.cut ?? 0 },
  };
}

/** A text's last hidden states, [T,D]. */
export async function lastStates(
  model: Model,
  { chunks: [chunks] }: Reading,
  clipSkip: number,
  exclusive: Exclusive,
): Promise<TextEncoding> {
  const clip = model.textEncoders[0]!;
  const encoded: Float32Array[] = [];
  for (const chunk of chunks!) {
    const states = await clip.lastHiddenState(chunk, clipSkip, exclusive);
    encoded.push(emphasize(finite(states, 'the text encoding', model), chunk.weights));
  }
  return { states: join(encoded) };
}
