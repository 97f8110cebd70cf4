import { z } from 'zod';
import { errors } from '../errors.ts';
import type { AdapterRequest } from './adapter-files.ts';
import { type Priority, priorities } from './batching/ticket.ts';
import type { PromptSyntax } from './conditioning/reading.ts';
import type { SizeConditioning } from './conditioning/stable-diffusion-xl.ts';
import { type ControlUnit, MAX_CONTROLS, parseUnits } from './control/units.ts';
import { type Upscaler, upscalers } from './hires.ts';
import { type ImageFormat, imageFormats } from './image-file.ts';
import { type MaskedContent, maskedContents } from './masked-content.ts';

/** What a request asks for, every field within its limits; what was left out is undefined. */
export interface ImageRequest {
  model: string;
  /** Left out only where there is no wire: there it is empty. */
  prompt?: string;
  negativePrompt: string;
  promptSyntax?: PromptSyntax;
  width?: number;
  height?: number;
  count: number;
  seeds: number[];
  steps?: number;
  guidanceScale?: number;
  guidanceRescale?: number;
  sampler: string;
  schedule: string;
  eta?: number;
  clipSkip?: number;
  sizeConditioning?: Partial<SizeConditioning>;
  initImage?: Uint8Array;
  strength?: number;
  mask?: Uint8Array;
  maskChannel?: 'luminance' | 'darkness' | 'alpha';
  maskBlur?: number;
  onlyMaskedPadding?: number;
  keepUnmasked?: boolean;
  maskedContent?: MaskedContent;
  adapters: AdapterRequest[];
  control: ControlUnit[];
  guessMode?: boolean;
  refiner?: string;
  refinerStart?: number;
  hiresScale?: number;
  hiresStrength?: number;
  hiresUpscaler?: Upscaler;
  /** Name of what makes the pictures; none: the model's own autoencoder. */
  decoder?: string;
  previewDecoder?: string;
  previewInterval: number;
  previewCount: number;
  returnLatents: boolean;
  format?: ImageFormat;
  quality?: number;
  maxPixels?: number;
  priority?: Priority;
}

/** The same as it comes: from the wire, where 0 and "" stand for nothing, or from the command line. */
export type ImageRequestInput = { [Field in keyof ImageRequest]?: unknown };

const upscalerNames = Object.keys(upscalers) as Upscaler[];

const MAX_PROMPT = 65_536;
const MAX_SEED = Number.MAX_SAFE_INTEGER;

interface Rule {
  /** As the .proto spells it. */
  field: string;
  expected: string;
  schema: z.ZodType;
}

const rule = (field: string, expected: string, schema: z.ZodType): Rule => ({ field, expected, schema });

const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !/[\0\p{Surrogate}]/u.test(value));
// biome-ignore lint/suspicious/noControlCharactersInRegex: they have no place in a name
const name = text(256).refine((value) => !/[\x01-\x1f\x7f]/.test(value));
const pixels = z.int().min(0).max(65_536).optional();
const sizes = z.object({
  originalWidth: pixels,
  originalHeight: pixels,
  cropLeft: pixels,
  cropTop: pixels,
  targetWidth: pixels,
  targetHeight: pixels,
}) satisfies z.ZodType<Partial<SizeConditioning>>;
const file = z.instanceof(Uint8Array);
const adapters = z
  .array(z.object({ name: name.min(1), scale: z.number().min(-100).max(100).nullish() }))
  .max(16);
const side = z.literal(0).or(z.int().min(8).max(4096).multipleOf(8));

/** The limits of every field: those of the contract's comments. */
const rules: Record<keyof ImageRequest, Rule> = {
  model: rule('model', 'a name of at most 256 characters', name),
  prompt: rule('prompt', `text of at most ${MAX_PROMPT} characters without NUL`, text(MAX_PROMPT)),
  negativePrompt: rule(
    'negative_prompt',
    `text of at most ${MAX_PROMPT} characters without NUL`,
    text(MAX_PROMPT),
  ),
  promptSyntax: rule('prompt_syntax', 'weighted or plain', z.literal(['', 'weighted', 'plain'])),
  width: rule('width', 'a multiple of 8 from 8 to 4096', side),
  height: rule('height', 'a multiple of 8 from 8 to 4096', side),
  count: rule('count', 'a whole number from 1 to 64', z.int().min(0).max(64)),
  seeds: rule('seeds', 'whole numbers from 0 to 2^53-1', z.array(z.int().min(0).max(MAX_SEED))),
  steps: rule('steps', 'a whole number from 1 to 1000', z.int().min(0).max(1000)),
  guidanceScale: rule('guidance_scale', 'a number from 0 to 100', z.number().min(0).max(100)),
  guidanceRescale: rule('guidance_rescale', 'a number from 0 to 1', z.number().min(0).max(1)),
  sampler: rule('sampler', 'a name', name),
  schedule: rule('schedule', 'a name', name),
  eta: rule('eta', 'a number from 0 to 1', z.number().min(0).max(1)),
  clipSkip: rule('clip_skip', 'a whole number from 0 to 11', z.int().min(0).max(11)),
  sizeConditioning: rule('size_conditioning', 'whole numbers of pixels from 0 to 65536', sizes),
  initImage: rule('init_image', 'the bytes of an image file', file),
  strength: rule('strength', 'a number from 0 to 1', z.number().min(0).max(1)),
  mask: rule('mask', 'the bytes of an image file', file),
  maskChannel: rule(
    'mask_channel',
    'luminance, darkness or alpha',
    z.literal(['', 'luminance', 'darkness', 'alpha']),
  ),
  maskBlur: rule('mask_blur', 'a whole number of pixels from 0 to 256', z.int().min(0).max(256)),
  onlyMaskedPadding: rule(
    'only_masked_padding',
    'a whole number of pixels from 0 to 4096',
    z.int().min(0).max(4096),
  ),
  keepUnmasked: rule('keep_unmasked', 'true or false', z.boolean()),
  maskedContent: rule(
    'masked_content',
    `one of ${maskedContents.join(', ')}`,
    z.literal(['', ...maskedContents]),
  ),
  adapters: rule('adapters', 'at most 16 adapters with a name and a scale from -100 to 100', adapters),
  control: rule('control', `at most ${MAX_CONTROLS} ControlNets`, z.array(z.unknown()).max(MAX_CONTROLS)),
  guessMode: rule('guess_mode', 'true or false', z.boolean()),
  refiner: rule('refiner', 'a name of at most 256 characters', name),
  refinerStart: rule('refiner_start', 'a number from 0 to 1', z.number().min(0).max(1)),
  hiresScale: rule('hires_scale', 'a number from 1 to 4', z.literal(0).or(z.number().min(1).max(4))),
  hiresStrength: rule('hires_strength', 'a number from 0 to 1', z.number().min(0).max(1)),
  hiresUpscaler: rule(
    'hires_upscaler',
    `one of ${upscalerNames.join(', ')}`,
    z.literal(['', ...upscalerNames]),
  ),
  decoder: rule('decoder', 'a name of at most 256 characters', name),
  previewDecoder: rule('preview_decoder', 'a name of at most 256 characters', name),
  previewInterval: rule('preview_interval', 'a whole number from 0 to 1000', z.int().min(0).max(1000)),
  previewCount: rule('preview_count', 'a whole number from 0 to 16', z.int().min(0).max(16)),
  returnLatents: rule('return_latents', 'true or false', z.boolean()),
  format: rule('format', `one of ${imageFormats.join(', ')}`, z.enum(imageFormats)),
  quality: rule('quality', 'a whole number from 1 to 100', z.int().min(1).max(100)),
  maxPixels: rule('max_pixels', 'a whole number', z.int().min(0)),
  priority: rule('priority', priorities.join(' or '), z.literal(['', ...priorities])),
};

const isText = new Set(['prompt', 'negative_prompt']);

const nothing = {
  model: '',
  negativePrompt: '',
  count: 0,
  seeds: [],
  adapters: [],
  control: [],
  sampler: '',
  schedule: '',
};
const noPreviews = { previewInterval: 0, previewCount: 0, returnLatents: false };

/**
 * Checks every field of a request.
 * @throws ServiceError invalid_argument, naming the field, what was expected and what came.
 */
export function parseRequest(input: ImageRequestInput): ImageRequest {
  const given = Object.fromEntries(
    Object.entries(rules).flatMap(([key, { field, expected, schema }]) => {
      const value = input[key as keyof ImageRequest];
      if (value === undefined || value === null) return [];
      if (schema.safeParse(value).success) return [[key, value]];
      // A prompt is the caller's own: it is not repeated, as messages are logged.
      if (isText.has(field) && typeof value === 'string')
        throw errors.unexpected(field, expected, whatText(value));
      throw errors.invalidArgument(field, expected, value);
    }),
  );
  const request = { ...nothing, ...noPreviews, ...given } as ImageRequest;
  const count = request.count || Math.max(1, request.seeds.length);
  if (count > 64 || (request.seeds.length > 1 && request.seeds.length !== count))
    throw errors.unexpected(
      'seeds',
      `one, or one for each of ${Math.min(count, 64)} images`,
      `${request.seeds.length}`,
    );
  // On the wire, 0, "" and no bytes are what was not set.
  const set = (n: number | undefined) => n || undefined;
  const bytes = (file: Uint8Array | undefined) => (file?.length ? file : undefined);
  return {
    ...request,
    count,
    adapters: request.adapters.map(({ name, scale }) => ({ name, scale: scale ?? 1 })),
    control: parseUnits(request.control),
    width: set(request.width),
    height: set(request.height),
    promptSyntax: request.promptSyntax || undefined,
    steps: set(request.steps),
    hiresScale: set(request.hiresScale),
    hiresUpscaler: request.hiresUpscaler || undefined,
    decoder: request.decoder || undefined,
    previewDecoder: request.previewDecoder || undefined,
    initImage: bytes(request.initImage),
    mask: bytes(request.mask),
    maskChannel: request.maskChannel || undefined,
    maskedContent: request.maskedContent || undefined,
    maxPixels: set(request.maxPixels),
    priority: request.priority || undefined,
  };
}

function whatText(value: string): string {
  return value.length > MAX_PROMPT ? `${value.length} characters` : 'text with NUL or half a surrogate pair';
}
