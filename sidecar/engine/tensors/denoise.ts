import { randomInt } from 'node:crypto';
import { errors } from '../../errors.ts';
import type { Sampler } from '../../samplers/index.ts';
import { memoryOf } from '../admission/memory.ts';
import { noWork, passOf } from '../admission/workload.ts';
import { AESTHETIC_SCORE, timeIds } from '../conditioning/stable-diffusion-xl.ts';
import type { TextEncoding } from '../conditioning/text.ts';
import { latentDiffusion, type Outcome, type Work } from '../latent-diffusion.ts';
import type { OpenModel } from '../open-model.ts';
import { type ImageRequestInput, parseRequest } from '../request.ts';
import { sizesOf } from '../request-plan/size.ts';
import { readLatents } from './autoencoder.ts';
import type { Part } from './part.ts';
import { type Floats, isGiven, readTensor, type TensorInput } from './tensor.ts';

type Tensor = TensorInput | null | undefined;

export interface DenoiseRequest
  extends Pick<
    ImageRequestInput,
    | 'sizeConditioning'
    | 'steps'
    | 'guidanceScale'
    | 'guidanceRescale'
    | 'sampler'
    | 'schedule'
    | 'eta'
    | 'seeds'
  > {
  model?: string;
  latents?: Tensor;
  noise?: Tensor;
  hiddenStates?: Tensor;
  negativeHiddenStates?: Tensor;
  pooled?: Tensor;
  negativePooled?: Tensor;
  first?: number;
  end?: number;
}

export interface Denoised {
  latents: Floats;
  evaluationsRun: number;
  evaluations: number;
  seeds: number[];
  timings: Outcome['timings'];
}

/** Tokens of a text, at most: a hundred chunks. */
const MAX_TOKENS = 7700;

/**
 * latents [N,C,h,w] and texts' encodings → the latents after a sampler's evaluations.
 * @param onStep receives each of them.
 */
export function denoisePart(
  request: DenoiseRequest,
  onStep: (step: { step: number; total: number; stepMs: number }) => void = () => {},
): Part<Denoised> {
  // Drawn once, however often it is begun.
  const drawn = randomInt(2 ** 32);
  return {
    model: request.model ?? '',
    check(model) {
      const { work } = workOf(request, model, drawn);
      const [, height, width] = work.shape;
      const size = { height, width };
      const isGuided = work.guidanceScale > 1;
      const evaluations = work.end! - (work.source?.first ?? 0);
      const pass = passOf(model, { size, evaluations, images: work.count, isGuided });
      return {
        memory: memoryOf(model, [{ size, count: work.count, encodes: false }], isGuided),
        workload: { ...noWork, passes: [pass], steps: work.count * evaluations },
      };
    },
    async run(model, bench) {
      const { evaluator, ticket, onStage } = bench;
      const { work, evaluations } = workOf(request, model, drawn);
      const [, height, width] = work.shape;
      const { scale } = model.latentSpace;
      const kind = { width: width * scale, height: height * scale, images: work.count };
      const outcome = await latentDiffusion(model, work, {
        ...{ evaluator, ticket, onStage },
        onStep: (step) => {
          bench.onStep?.(kind, step.stepMs);
          onStep(step);
        },
      });
      return {
        latents: { shape: [work.count, ...work.shape], data: outcome.latents },
        evaluationsRun: outcome.stepsRun,
        evaluations,
        seeds: work.seeds,
        timings: outcome.timings,
      };
    },
  };
}

/** A request with a model's defaults filled in, and with the seed that was drawn where it has none. */
function workOf(
  request: DenoiseRequest,
  model: OpenModel,
  drawn: number,
): { work: Work; evaluations: number } {
  if (model.inpaints)
    throw errors.unexpected('model', 'a model that denoises latents alone', `${model.name}, for inpainting`);
  const { data, shape, count, size } = readLatents(model, 'latents', request.latents);
  // By the rules of the same fields of a whole request.
  const seeds = (request.seeds ?? []) as unknown[];
  const parsed = parseRequest({ ...fieldsOf(request), seeds, count: Math.max(1, count) });
  const steps = parsed.steps ?? model.defaults.steps;
  const resolved = model.sampler(parsed.sampler, parsed.schedule);
  const sampler = resolved.create({ steps, eta: resolved.takesEta ? (parsed.eta ?? 0) : 0 });
  const evaluations = sampler.timesteps.length;
  const { first, end } = rangeOf(request, evaluations);
  const takesText = model.texts.length > 0;
  const guidanceScale = takesText ? (parsed.guidanceScale ?? model.defaults.guidanceScale) : 1;
  const isGuided = guidanceScale > 1;
  const { scale } = model.latentSpace;
  const sizes = sizesOf(parsed, size.width * scale, size.height * scale);
  const work: Work = {
    ...{ prompt: '', negativePrompt: '', promptSyntax: 'plain', clipSkip: 0, sizes },
    ...{ count, steps, sampler, guidanceScale, end },
    encodings: takesText ? encodingsOf(request, model, sizes, isGuided) : refuseTexts(request, model),
    shape: shape.slice(1) as Work['shape'],
    seeds: parsed.seeds.length > 0 ? parsed.seeds : [drawn],
    guidanceRescale: isGuided ? (parsed.guidanceRescale ?? model.settings.guidance_rescale) : 0,
    source: { latents: beginning(request, sampler, data, first), first },
    previewAt: () => false,
    estimate: (prediction) => prediction,
  };
  return { work, evaluations };
}

function fieldsOf({
  sizeConditioning,
  steps,
  guidanceScale,
  guidanceRescale,
  sampler,
  schedule,
  eta,
}: DenoiseRequest) {
  return { sizeConditioning, steps, guidanceScale, guidanceRescale, sampler, schedule, eta };
}

function rangeOf({ first = 0, end = 0 }: DenoiseRequest, evaluations: number) {
  if (first >= evaluations)
    throw errors.unexpected('first', `a whole number below the ${evaluations} evaluations`, `${first}`);
  if (end !== 0 && (end <= first || end > evaluations))
    throw errors.unexpected('end', `0 or a whole number from ${first + 1} to ${evaluations}`, `${end}`);
  return { first, end: end || evaluations };
}

/** What the first evaluation begins with, [N,C,h,w]. */
function beginning(
  { noise, latents }: DenoiseRequest,
  sampler: Sampler,
  data: Float32Array,
  first: number,
): Float32Array {
  if (isGiven(noise)) {
    const drawn = readTensor('noise', noise, (latents!.shape ?? []).map(Number));
    return sampler.addNoise(data, drawn.data, first);
  }
  return first === 0 ? data.map((z) => z * sampler.initNoiseSigma) : data;
}

/** The conditional text, under guidance the unconditional one before it. */
function encodingsOf(
  request: DenoiseRequest,
  model: OpenModel,
  sizes: Work['sizes'],
  isGuided: boolean,
): TextEncoding[] {
  const { checkpoint } = model;
  if (checkpoint.kind === 'unconditional') return [];
  const width = checkpoint.unet.config.cross_attention_dim;
  const read = (field: string, states: Tensor, pooled: Tensor, tokens: number | undefined, score: number) => {
    const length = tokens ?? { min: 1, max: MAX_TOKENS };
    const { data, shape } = readTensor(`${field}hidden_states`, states, [1, length, width]);
    const encoding: TextEncoding = { states: data };
    if (checkpoint.kind === 'text-to-image-xl') {
      const { added } = checkpoint.unet.config;
      const summary = added!.features - checkpoint.timeIds * added!.sizeFeatures;
      const { data } = readTensor(`${field}pooled`, pooled, [1, summary]);
      encoding.added = { pooled: data, timeIds: timeIds(checkpoint, sizes, score) };
    }
    return { encoding, tokens: shape[1]! };
  };
  const { hiddenStates, pooled, negativeHiddenStates, negativePooled } = request;
  const positive = read('', hiddenStates, pooled, undefined, AESTHETIC_SCORE.positive);
  if (!isGuided) return [positive.encoding];
  const negative = read(
    'negative_',
    negativeHiddenStates,
    negativePooled,
    positive.tokens,
    AESTHETIC_SCORE.negative,
  );
  return [negative.encoding, positive.encoding];
}

function refuseTexts({ hiddenStates }: DenoiseRequest, model: OpenModel): undefined {
  if (isGiven(hiddenStates))
    throw errors.unexpected('hidden_states', `nothing, as ${model.name} takes no text,`, 'a tensor');
}
