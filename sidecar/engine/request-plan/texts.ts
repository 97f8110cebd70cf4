import { errors } from '../../errors.ts';
import type { OpenModel } from '../open-model.ts';
import type { ImageRequest } from '../request.ts';

/** What a request says in words, and how much it counts; of a model without a prompt, nothing. */
export function textsOf(request: ImageRequest, model: OpenModel) {
  const { prompt, negativePrompt, guidanceScale } = request;
  if (model.texts.length > 0) {
    if (prompt === undefined)
      throw errors.invalidArgument('prompt', `a text, which ${model.name} needs,`, prompt);
    const clipSkip = clipSkipOf(request, model);
    return {
      ...{ prompt, negativePrompt, clipSkip, ignored: [] },
      guidanceScale: guidanceScale ?? model.defaults.guidanceScale,
    };
  }
  const asked = {
    prompt,
    negative_prompt: negativePrompt,
    guidance_scale: guidanceScale,
    clip_skip: request.clipSkip,
  };
  const ignored = Object.entries(asked).flatMap(([field, value]) =>
    value ? [`${field}: ${model.name} takes no text`] : [],
  );
  return { prompt: '', negativePrompt: '', clipSkip: 0, guidanceScale: 1, ignored };
}

export function clipSkipOf({ clipSkip = 0 }: Pick<ImageRequest, 'clipSkip'>, model: OpenModel): number {
  const layers = Math.min(...model.texts.map(({ component }) => component.config.num_hidden_layers));
  const most = layers - 1;
  if (clipSkip > most)
    throw errors.invalidArgument(
      'clip_skip',
      `a whole number from 0 to ${most}, for ${model.name}`,
      clipSkip,
    );
  return clipSkip;
}
