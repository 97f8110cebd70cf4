import { errors } from '../../errors.ts';
import { memoryFor } from '../admission/memory.ts';
import { noWork } from '../admission/workload.ts';
import { type Exclusive, encodeTexts } from '../conditioning/index.ts';
import { join, type TextEncoding } from '../conditioning/text.ts';
import type { Model } from '../model.ts';
import { parseRequest } from '../request.ts';
import { clipSkipOf } from '../request-plan/texts.ts';
import type { Bench, Part } from './part.ts';
import { MAX_BATCH } from './part.ts';
import type { Floats } from './tensor.ts';

export interface TextRequest {
  model?: string;
  texts?: string[];
  promptSyntax?: string;
  clipSkip?: number | undefined;
}

export interface EncodedTexts {
  /** [N,T,D] */
  hiddenStates: Floats;
  /** Stable Diffusion XL: [N,P] */
  pooled: Floats | undefined;
  /** Of each text. */
  tokens: number[];
  cutTokens: number[];
}

/** texts → what cross-attention looks at, all of the same number of tokens. */
export function encodeTextPart(request: TextRequest): Part<EncodedTexts> {
  const { texts = [] } = request;
  if (texts.length < 1 || texts.length > MAX_BATCH)
    throw errors.unexpected('texts', `1…${MAX_BATCH} texts`, `${texts.length}`);
  // By the rules of a request's prompt.
  const read = texts.map((prompt) => parseRequest({ ...request, prompt }));
  const { promptSyntax = 'weighted', model } = read[0]!;
  return {
    model,
    check(model) {
      if (model.texts.length === 0) throw errors.unexpected('model', 'a model that takes text', model.name);
      clipSkipOf(read[0]!, model);
      return { memory: memoryFor(model, 'encoding texts', 0), workload: noWork };
    },
    async run(model: Model, bench: Bench) {
      const exclusive: Exclusive = (work) => bench.evaluator.exclusive(work, bench.ticket);
      const learnedWords = await bench.learnedWords();
      const clipSkip = clipSkipOf(read[0]!, model);
      const options = { promptSyntax, learnedWords, clipSkip };
      const { encodings, readings } = await encodeTexts(model, texts, options, exclusive);
      return {
        hiddenStates: together(encodings, (encoding) => encoding.states, widthOf(model)),
        pooled: encodings[0]!.pooled && together(encodings, (encoding) => encoding.pooled!),
        tokens: readings.map(({ used }) => used),
        cutTokens: readings.map(({ cut }) => cut),
      };
    },
  };
}

/** D: of each text encoder, side by side. */
function widthOf({ textEncoders }: Model): number {
  return textEncoders.reduce((sum, { config }) => sum + config.hidden_size, 0);
}

/** [N,…] of N rows, or with a width [N,…,width]. */
function together<E extends Partial<TextEncoding>>(
  encodings: E[],
  rows: (encoding: E) => Float32Array,
  width?: number,
): Floats {
  const data = join(encodings.map(rows));
  const each = data.length / encodings.length;
  return { shape: [encodings.length, ...(width ? [each / width, width] : [each])], data };
}
