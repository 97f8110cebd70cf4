import type { XLCheckpoint } from '../../models/components.ts';
import { finite } from '../finite.ts';
import type { Model } from '../model.ts';
import type { Encoded, Exclusive, Prompts } from './index.ts';
import { join, TextConditioning, type TextEncoding } from './text.ts';

/** Pixels. What a picture of the training set was before it was scaled and cropped, and became. */
export interface SizeConditioning {
  originalWidth: number;
  originalHeight: number;
  cropLeft: number;
  cropTop: number;
  targetWidth: number;
  targetHeight: number;
}

/** What the refiner is told of the picture's beauty, 1…10, for the prompt and for the negative one. */
const AESTHETIC_SCORE = { positive: 6, negative: 2.5 };

/**
 * Stable Diffusion XL (arXiv:2307.01952, sections 2.1 and 2.2): cross-attention looks at the penultimate hidden states
 * of two text encoders, side by side; beside the time, the U-Net is told the second encoder's summary of the text, and
 * sizes. The refiner has the second encoder alone.
 */
export async function encodeStableDiffusionXL(
  model: Model,
  checkpoint: XLCheckpoint,
  { prompt, negativePrompt, guidanceScale, clipSkip, sizes }: Prompts,
  exclusive: Exclusive,
): Promise<Encoded> {
  const encode = async (text: string, skip: number, score: number): Promise<TextEncoding & Tokens> => {
    const encoded = [];
    for (const encoder of model.textEncoders) {
      const { ids, used, cut } = encoder.tokenize(text);
      const { states, pooled } = await exclusive(() => encoder.penultimate(ids, 1, skip));
      encoded.push({ states, pooled, used, cut, tokens: ids.length });
    }
    const { pooled, tokens, used, cut } = encoded.at(-1)!;
    const states = sideBySide(
      encoded.map(({ states }) => finite(states, 'the text encoding', model)),
      tokens,
    );
    finite(pooled!, 'the text encoding', model);
    return { states, added: { pooled: pooled!, timeIds: timeIds(checkpoint, sizes, score) }, used, cut };
  };

  const positive = await encode(prompt, clipSkip, AESTHETIC_SCORE.positive);
  let negative: Awaited<ReturnType<typeof encode>> | undefined;
  if (guidanceScale > 1) {
    negative =
      negativePrompt === '' && checkpoint.forceZerosForEmptyPrompt
        ? zeros(positive, timeIds(checkpoint, sizes, AESTHETIC_SCORE.negative))
        : await encode(negativePrompt, 0, AESTHETIC_SCORE.negative);
  }
  return {
    conditioning: new TextConditioning(model.denoiser, negative ? [negative, positive] : [positive]),
    textTokens: positive.used + (negative?.used ?? 0),
    cutTokens: { prompt: positive.cut, negative_prompt: negative?.cut ?? 0 },
  };
}

interface Tokens {
  used: number;
  cut: number;
}

/** Height before width, top before left. */
function timeIds({ timeIds }: XLCheckpoint, sizes: SizeConditioning, aestheticScore: number): number[] {
  const { originalHeight, originalWidth, cropTop, cropLeft, targetHeight, targetWidth } = sizes;
  const given = [originalHeight, originalWidth, cropTop, cropLeft];
  return timeIds === 5 ? [...given, aestheticScore] : [...given, targetHeight, targetWidth];
}

/** Nothing, of the same shape as something. */
function zeros({ states, added }: TextEncoding, timeIds: number[]): TextEncoding & Tokens {
  const pooled = new Float32Array(added!.pooled.length);
  return { states: new Float32Array(states.length), added: { pooled, timeIds }, used: 0, cut: 0 };
}

/** [T,C1], [T,C2] → [T,C1+C2] */
function sideBySide(parts: Float32Array[], tokens: number): Float32Array {
  const rows = Array.from({ length: tokens }, (_, t) =>
    parts.map((part) => {
      const C = part.length / tokens;
      return part.subarray(t * C, (t + 1) * C);
    }),
  );
  return join(rows.flat());
}
