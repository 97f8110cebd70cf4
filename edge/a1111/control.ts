import { fromZod, invalid, unexpected } from '../errors.ts';
import { imageFile, isAddress, PictureAddress } from '../schema/file.ts';
import type { GenerateRequest, Names } from '../sidecar/client.ts';
import { ignoredInUnit } from './ignored.ts';
import { withoutHash } from './names.ts';
import { controlNetUnit } from './schema.ts';

type ControlUnit = NonNullable<GenerateRequest['control']>[number];

/** Where units stand in a body. */
export const FIELD = 'alwayson_scripts.ControlNet.args';

const resizeModes: Record<string, string> = {
  ...{ 0: 'stretch', 1: 'crop', 2: 'fit' },
  ...{ justresize: 'stretch', cropandresize: 'crop', resizeandfill: 'fit' },
  ...{ scaletofitinnerfit: 'crop', envelopeouterfit: 'fit', innerfit: 'crop', outerfit: 'fit' },
  ...{ innerfitscaletofit: 'crop', outerfitshrinktofit: 'fit' },
};

const controlModes: Record<string, string> = {
  ...{ 0: 'balanced', 1: 'prompt', 2: 'control' },
  ...{ balanced: 'balanced', mypromptismoreimportant: 'prompt', controlnetismoreimportant: 'control' },
};

/** What the two sliders of a module stand for, where it has any. */
const sliders: Record<string, string[]> = {
  canny: ['low_threshold', 'high_threshold'],
  threshold: ['threshold'],
  binary: ['threshold'],
  scribblexdog: ['threshold'],
  tileresample: ['down_sampling_rate'],
  blurgaussian: ['sigma'],
  recolorluminance: ['gamma'],
  recolorintensity: ['gamma'],
};

const plain = (name: string | number) =>
  String(name)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '');

/** The units of a request, as they stand in it. */
export function unitsOf(scripts: Record<string, unknown> | null | undefined): unknown[] {
  const [script] = Object.entries(scripts ?? {}).filter(([name]) => name.toLowerCase() === 'controlnet');
  const args = (script?.[1] as { args?: unknown } | null | undefined)?.args ?? [];
  if (!Array.isArray(args)) throw invalid(FIELD, 'a list of units', args);
  return args;
}

const isOff = (unit: unknown) => (unit as { enabled?: unknown } | null)?.enabled === false;

/** Where the units stand that are not switched off. */
export function placesOf(units: readonly unknown[]): number[] {
  return units.flatMap((unit, i) => (isOff(unit) ? [] : [i]));
}

/** Units with their pictures' addresses marked as such, for `withPictures`. */
export function withAddresses(units: readonly unknown[]): unknown[] {
  return units.map((unit) => {
    if (typeof unit !== 'object' || unit === null || isOff(unit)) return unit;
    const { image, input_image } = unit as { image?: unknown; input_image?: unknown };
    const picture = fileOf(image ?? input_image);
    return isAddress(picture) ? { ...unit, image: new PictureAddress(picture) } : unit;
  });
}

/**
 * Units of the web UI's ControlNet extension as the sidecar's.
 * @throws ApiError naming `alwayson_scripts.ControlNet.args[i]…`
 */
export function controlUnits(units: readonly unknown[], { preprocessors }: Names): ControlUnit[] {
  return units.flatMap((value, i): ControlUnit[] => {
    const at = `${FIELD}[${i}]`;
    const parsed = controlNetUnit.safeParse(value);
    if (!parsed.success) throw fromZod(parsed.error, value, `${at}.`);
    const unit = parsed.data;
    if (unit.enabled === false) return [];
    const module = unit.module ?? 'none';
    return [
      {
        model: withoutHash(unit.model ?? ''),
        image: pictureOf(unit.image ?? unit.input_image, `${at}.image`),
        preprocessor: module,
        preprocessorOptions: optionsOf(module, [unit.threshold_a, unit.threshold_b], preprocessors),
        resize: oneOf(resizeModes, unit.resize_mode ?? 1, `${at}.resize_mode`),
        scale: [unit.weight ?? 1],
        start: unit.guidance_start ?? undefined,
        end: unit.guidance_end ?? undefined,
        mode: oneOf(controlModes, unit.control_mode ?? 0, `${at}.control_mode`),
      },
    ];
  });
}

/** What of the units that take part is not here. */
export function ignoredInUnits(units: readonly unknown[]): string[] {
  return placesOf(units).flatMap((i) => ignoredInUnit(units[i] as Record<string, unknown>, `${FIELD}[${i}]`));
}

/** A picture, or `{image, mask}` with one in it. */
function fileOf(value: unknown): unknown {
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value;
  return (value as { image?: unknown }).image;
}

/** None: that of the request. */
function pictureOf(value: unknown, field: string): Uint8Array | undefined {
  const image = fileOf(value);
  if (image === undefined || image === null || image === '') return undefined;
  const parsed = imageFile('').safeParse(image);
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const [issue] = issues;
  if (issue?.code === 'custom') throw unexpected(field, issue.message, String(issue.params?.received));
  throw invalid(field, 'a file in base64', image);
}

/** Sliders within their range; else, as in that UI, the defaults. */
export function optionsOf(
  module: string,
  values: readonly (number | null | undefined)[],
  preprocessors: Names['preprocessors'],
): Record<string, number> {
  const names = sliders[plain(module)] ?? [];
  const row = preprocessors.find(({ name, aliases }) =>
    [name, ...aliases].some((other) => plain(other) === plain(module)),
  );
  return Object.fromEntries(
    names.flatMap((name, i): [string, number][] => {
      const [value, option] = [values[i], row?.options.find((option) => option.name === name)];
      return option && value != null && value >= option.min && value <= option.max
        ? [[name, option.whole ? Math.round(value) : value]]
        : [];
    }),
  );
}

function oneOf(names: Record<string, string>, value: string | number, field: string): string {
  const found = Object.hasOwn(names, plain(value)) ? names[plain(value)] : undefined;
  if (found) return found;
  throw invalid(field, `one of ${Object.keys(names).join(', ')}`, value);
}
