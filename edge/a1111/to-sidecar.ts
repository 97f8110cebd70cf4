import { ApiError, invalid } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { seedsFrom } from '../schema/to-sidecar.ts';
import type { GenerateRequest, Names } from '../sidecar/client.ts';
import { controlUnits, ignoredInUnits } from './control.ts';
import { ignoredFields } from './ignored.ts';
import { upscalers, withoutHash } from './names.ts';
import { type Img2ImgBody, img2imgBody, type SharedBody, type Txt2ImgBody, txt2imgBody } from './schema.ts';
import { fromSettings, textOf } from './settings.ts';
import type { Desk } from './tasks.ts';

export interface Translation {
  limits: Limits;
  /** What the caller has chosen for all requests. */
  desk: Pick<Desk, 'settings' | 'idle'>;
  /** The seed of a body that names none. */
  drawn: number;
  units: readonly unknown[];
  names: Names;
}

export interface Translated {
  request: GenerateRequest;
  ignored: string[];
}

/** Steps between previews, for whoever asks for the progress: that UI's own. */
const PREVIEW_INTERVAL = 10;
const MAX_IMAGES = 16;

/** @throws ApiError for what cannot be translated. */
export function fromTxt2Img(body: Txt2ImgBody, translation: Translation): Translated {
  const { enable_hr, hr_resize_x, hr_resize_y } = body;
  const request = sharedOf(body, translation);
  const ignored = ignoredOf(body, txt2imgBody.shape, enable_hr ? ['hr_second_pass_steps'] : [], translation);
  if (!enable_hr) return { request, ignored };
  const [width, height] = [body.width ?? 0, body.height ?? 0];
  const [x, y] = [(hr_resize_x ?? 0) / width, (hr_resize_y ?? 0) / height];
  if (x > 0 && y > 0 && Math.abs(x - y) > 0.02)
    throw invalid('hr_resize_y', `${Math.round(x * height)}, to keep the proportions,`, hr_resize_y);
  return {
    request: {
      ...request,
      hiresScale: x || y || (body.hr_scale ?? 2),
      hiresUpscaler: upscalerOf(body.hr_upscaler ?? 'Latent'),
      hiresStrength: body.denoising_strength ?? 0.7,
    },
    ignored,
  };
}

/** Whether the size of a second pass is to be reckoned from that of the first, and that is the model's. */
export function needsModelSize(body: Txt2ImgBody): boolean {
  const isSized = Boolean(body.hr_resize_x || body.hr_resize_y);
  return Boolean(body.enable_hr) && isSized && !(body.width && body.height);
}

/** @throws ApiError for what cannot be translated. */
export function fromImg2Img(body: Img2ImgBody, translation: Translation): Translated {
  const images = body.init_images ?? [];
  if (images.length === 0) throw new ApiError(404, 'init_image_not_found', 'Init image not found');
  if (images.length > 1) throw invalid('init_images', 'one picture', images.length);
  const { mask, inpaint_full_res = true } = body;
  return {
    request: {
      ...sharedOf(body, translation),
      initImage: images[0]!,
      strength: body.denoising_strength ?? 0.75,
      ...(mask && {
        mask,
        maskChannel: body.inpainting_mask_invert ? 'darkness' : 'luminance',
        maskBlur: body.mask_blur ?? 4,
        onlyMaskedPadding: inpaint_full_res ? (body.inpaint_full_res_padding ?? 0) : undefined,
        keepUnmasked: true,
        maskedContent: contentOf(body),
      }),
    },
    ignored: ignoredOf(body, img2imgBody.shape, [], translation),
  };
}

const contents = ['fill', 'original', 'latent-noise', 'latent-nothing'];

/** The default asks for nothing where there is nothing left to begin from. */
function contentOf({ inpainting_fill: content, denoising_strength: strength }: Img2ImgBody): string {
  return !content && strength === 1 ? '' : contents[content ?? 0]!;
}

function ignoredOf(
  body: SharedBody,
  known: Record<string, unknown>,
  counting: readonly string[],
  { units, desk }: Translation,
): string[] {
  return [...ignoredFields(body, known, counting), ...ignoredInUnits(units), ...desk.idle];
}

/** The model that a request names, by itself or before. */
export function modelOf(body: SharedBody, { settings }: Pick<Desk, 'settings'>): string {
  const { sd_model_checkpoint: own } = body.override_settings ?? {};
  return withoutHash(textOf(own) ?? textOf(settings.sd_model_checkpoint) ?? '');
}

function sharedOf(body: SharedBody, { limits, desk, drawn, units, names }: Translation): GenerateRequest {
  const settings = { ...desk.settings, ...body.override_settings };
  const count = (body.batch_size ?? 1) * (body.n_iter ?? 1);
  if (count > MAX_IMAGES) throw invalid('n_iter', `at most ${MAX_IMAGES} images with batch_size`, count);
  const seed = body.seed === undefined || body.seed === null || body.seed < 0 ? drawn : body.seed;
  const { prompt, adapters } = withoutLoras(body.prompt ?? '');
  return {
    model: modelOf(body, desk),
    prompt,
    negativePrompt: body.negative_prompt ?? '',
    adapters,
    width: body.width ?? 0,
    height: body.height ?? 0,
    count,
    seeds: seedsFrom(seed, count),
    steps: body.steps ?? 0,
    guidanceScale: body.cfg_scale ?? undefined,
    sampler: body.sampler_name ?? body.sampler_index ?? '',
    schedule: scheduleOf(body.scheduler),
    eta: body.eta ?? undefined,
    refiner: named(body.refiner_checkpoint),
    refinerStart: body.refiner_checkpoint ? (body.refiner_switch_at ?? undefined) : undefined,
    control: controlUnits(units, names),
    previewInterval: Math.min(PREVIEW_INTERVAL, Math.ceil((body.steps ?? 20) / 4)),
    ...fromSettings(settings, 'override_settings.'),
    maxPixels: limits.replyPixels,
  };
}

/** `<lora:NAME:SCALE>` stands in the prompt there. */
function withoutLoras(text: string): { prompt: string; adapters: { name: string; scale: number }[] } {
  const adapters: { name: string; scale: number }[] = [];
  const prompt = text.replace(/<lora:([^:<>]+)(?::([^:<>]*))?(?::[^<>]*)?>/gi, (tag, name, scale = '1') => {
    const value = Number(scale);
    if (scale.trim() === '' || !Number.isFinite(value) || Math.abs(value) > 100)
      throw invalid('prompt', 'a scale from -100 to 100 in <lora:NAME:SCALE>', tag);
    adapters.push({ name, scale: value });
    return '';
  });
  return { prompt: prompt.trim(), adapters };
}

const named = (name: string | null | undefined) => (!name || /^none$/i.test(name) ? '' : withoutHash(name));

/** "Automatic" leaves it to the sampler. */
const scheduleOf = (name: string | null | undefined) => (!name || /^automatic$/i.test(name) ? '' : name);

function upscalerOf(name: string): string {
  const found = Object.entries(upscalers).find(([other]) => other.toLowerCase() === name.toLowerCase());
  if (found) return found[1];
  throw invalid('hr_upscaler', `one of ${Object.keys(upscalers).join(', ')}`, name);
}
