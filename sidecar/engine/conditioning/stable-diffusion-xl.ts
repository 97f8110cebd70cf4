import type { XLCheckpoint } from '../../models/components.ts';
import { emphasize } from '../../text/emphasis.ts';
import { finite } from '../finite.ts';
import type { Model } from '../model.ts';
import type { Encoded, Exclusive, Prompts } from './index.ts';
import { type Reading, readTexts } from './reading.ts';
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
export const AESTHETIC_SCORE = { positive: 6, negative: 2.5 };

/**
 * Stable Diffusion XL (arXiv:2307.01952, sections 2.1 and 2.2): cross-attention looks at the penultimate hidden states
 * of two text encoders, side by side; beside the time, the U-Net is told the second encoder's summary of the text, and
 * sizes. The refiner has the second encoder alone.
 */
export async function encodeStableDiffusionXL(
  model: Model,
  checkpoint: XLCheckpoint,
  prompts: Prompts,
  exclusive: Exclusive,
): Promise<Encoded> {
  const { prompt, negativePrompt, guidanceScale, clipSkip, sizes } = prompts;
  const encode = async (reading: Reading, skip: number, score: number): Promise<TextEncoding> => {
    const { states, pooled } = await penultimateStates(model, reading, skip, exclusive);
    return { states, added: { pooled, timeIds: timeIds(checkpoint, sizes, score) } };
  };

  const isGuided = guidanceScale > 1;
  const isZeros = negativePrompt === '' && checkpoint.forceZerosForEmptyPrompt;
  const texts = isGuided && !isZeros ? [prompt, negativePrompt] : [prompt];
  const [positive, negative] = await readTexts(model, texts, prompts);
  const encodings = [await encode(positive!, clipSkip, AESTHETIC_SCORE.positive)];
  if (negative) encodings.unshift(await encode(negative, 0, AESTHETIC_SCORE.negative));
  else if (isGuided)
    encodings.unshift(zeros(encodings[0]!, timeIds(checkpoint, sizes, AESTHETIC_SCORE.negative)));
  return {
    conditioning: new TextConditioning(model.denoiser, encodings),
    textTokens: positive!.used + (negative?.used ?? 0),
    cutTokens: { prompt: positive!.cut, negative_prompt: negative?.cut ?? 0 },
  };
}

/** A text's penultimate hidden states in both encoders, side by side, [T,D], and the second one's summary, [P]. */
export async function penultimateStates(
  model: Model,
  reading: Reading,
  clipSkip: number,
  exclusive: Exclusive,
): Promise<{ states: Float32Array; pooled: Float32Array }> {
  let summary: Float32Array | undefined;
  const states: Float32Array[] = [];
  for (const [i, encoder] of model.textEncoders.entries()) {
    const encoded: Float32Array[] = [];
    for (const chunk of reading.chunks[i]!) {
      const { states, pooled } = await encoder.penultimate(chunk, clipSkip, exclusive);
      encoded.push(emphasize(finite(states, 'the text encoding', model), chunk.weights));
      // Of a long text, that of its beginning.
      if (pooled) summary ??= finite(pooled, 'the text encoding', model);
    }
    states.push(join(encoded));
  }
  const tokens = reading.chunks[0]!.reduce((sum, { ids }) => sum + ids.length, 0);
  return { states: sideBySide(states, tokens), pooled: summary! };
}

/** Height before width, top before left. */
export function timeIds(
  { timeIds }: XLCheckpoint,
  sizes: SizeConditioning,
  aestheticScore: number,
): number[] {
  const { originalHeight, originalWidth, cropTop, cropLeft, targetHeight, targetWidth } = sizes;
  const given = [originalHeight, originalWidth, cropTop, cropLeft];
  return timeIds === 5 ? [...given, aestheticScore] : [...given, targetHeight, targetWidth];
}

/** Nothing, of the same shape as something. */
function zeros({ states, added }: TextEncoding, timeIds: number[]): TextEncoding {
  const pooled = new Float32Array(added!.pooled.length);
  return { states: new Float32Array(states.length), added: { pooled, timeIds } };
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
