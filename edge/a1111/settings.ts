import { invalid } from '../errors.ts';
import { type OutputFormat, toImageFormat } from '../schema/formats.ts';
import type { GenerateRequest } from '../sidecar/client.ts';

// Settings that have an effect: of the caller's later requests (POST options), or of one (override_settings).

const names = ['sd_model_checkpoint', 'CLIP_stop_at_last_layers', 'samples_format', 'jpeg_quality'];

export const isSetting = (name: string): boolean => names.includes(name);

/**
 * What settings say of a request, the model apart.
 * @param at the field that they stand in, with a dot.
 * @throws ApiError naming the setting.
 */
export function fromSettings(settings: Record<string, unknown>, at = ''): GenerateRequest {
  const { CLIP_stop_at_last_layers: layers, samples_format, jpeg_quality } = settings;
  return {
    clipSkip: clipSkipOf(layers, `${at}CLIP_stop_at_last_layers`),
    ...encodingOf(samples_format, jpeg_quality, at),
  };
}

/** There, 1 is the last layer. */
function clipSkipOf(layers: unknown, field: string): number | undefined {
  if (layers === undefined || layers === null) return undefined;
  if (Number.isInteger(layers) && Number(layers) >= 1 && Number(layers) <= 12) return Number(layers) - 1;
  throw invalid(field, 'a whole number from 1 to 12', layers);
}

function encodingOf(format: unknown, quality: unknown, at: string): GenerateRequest {
  const name = textOf(format)?.toLowerCase() ?? 'png';
  const known = name === 'jpg' ? 'jpeg' : name;
  if (!['png', 'jpeg', 'webp'].includes(known))
    throw invalid(`${at}samples_format`, 'png, jpg or webp', format);
  const given = quality ?? undefined;
  if (given !== undefined && !(Number.isInteger(given) && Number(given) >= 1 && Number(given) <= 100))
    throw invalid(`${at}jpeg_quality`, 'a whole number from 1 to 100', quality);
  return {
    format: toImageFormat(known as OutputFormat),
    quality: known === 'png' ? undefined : (given as number | undefined),
  };
}

export const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;
