import { errors } from '../../errors.ts';
import { type Component, openPart } from '../../models/components.ts';
import { type TaesdConfig, taesdScale } from '../../models/taesd.ts';
import type { NamedFolder } from '../model-folders.ts';
import type { OpenModel } from '../open-model.ts';
import type { ImageRequest } from '../request.ts';
import { type KnownSpace, knownSpace } from './linear.ts';

/** What is to decode. */
export type DecoderChoice =
  | { kind: 'model' }
  | { kind: 'linear'; space: KnownSpace }
  | { kind: 'tiny'; name: string; component: Component<TaesdConfig> };

export interface DecoderChoices {
  images: DecoderChoice;
  previews: DecoderChoice;
}

const own: DecoderChoice = { kind: 'model' };

/**
 * Finds and checks the decoders of a request before it waits.
 * @param places of AutoencoderTinys, by name.
 * @throws ServiceError naming the field, for what is not there or was made for other latents; CheckpointError.
 */
export async function chooseDecoders(
  request: Pick<ImageRequest, 'decoder' | 'previewDecoder' | 'previewCount' | 'previewInterval'>,
  model: OpenModel,
  places: () => Promise<NamedFolder[]>,
): Promise<DecoderChoices> {
  const named = (name: string, field: string, known: string[]) => tinyOf(name, field, known, model, places);
  const { decoder, previewDecoder } = request;
  const images = decoder ? await named(decoder, 'decoder', ['model']) : own;
  if (previewDecoder === 'linear') return { images, previews: linearOf(model) };
  if (previewDecoder)
    return { images, previews: await named(previewDecoder, 'preview_decoder', ['model', 'linear']) };
  const hasPreviews = request.previewInterval > 0 || request.previewCount > 0;
  return { images, previews: hasPreviews ? await cheapest(images, model, places) : own };
}

/** What the request's own words for it are. */
export function decoderName(choice: DecoderChoice): string {
  return choice.kind === 'tiny' ? choice.name : choice.kind;
}

async function tinyOf(
  name: string,
  field: string,
  known: string[],
  model: OpenModel,
  places: () => Promise<NamedFolder[]>,
): Promise<DecoderChoice> {
  if (name === 'model') return own;
  const all = await places();
  const place = all.find((candidate) => candidate.name === name);
  if (!place)
    throw errors.decoderNotFound(
      field,
      name,
      known,
      all.map(({ name }) => name),
    );
  const component = await openPart(place.dir, 'taesd');
  if (!fits(component.config, model))
    throw errors.unexpected(
      field,
      `an autoencoder of ${shapeOf(model.latentSpace)}, as ${model.name} has,`,
      `${name}, of ${shapeOf(tinySpace(component.config))}`,
    );
  return { kind: 'tiny', name, component };
}

function linearOf(model: OpenModel): DecoderChoice {
  const space = knownSpace(model.latentSpace);
  if (space) return { kind: 'linear', space };
  throw errors.unexpected(
    'preview_decoder',
    `model or an AutoencoderTiny, as the colours of ${model.name}'s latents are not known,`,
    'linear',
  );
}

/** Of what is right for the model's latents: the request's own tiny decoder, one that is there, or colours alone. */
async function cheapest(
  images: DecoderChoice,
  model: OpenModel,
  places: () => Promise<NamedFolder[]>,
): Promise<DecoderChoice> {
  if (images.kind === 'tiny') return images;
  const space = knownSpace(model.latentSpace);
  if (!space) return own;
  for (const { name, dir } of await places()) {
    // Nothing in it says whose latents it was made for, but its name: taesd, taesdxl.
    if (/xl/i.test(name) !== (space === 'sdxl')) continue;
    const component = await openPart(dir, 'taesd').catch(() => undefined);
    if (component && fits(component.config, model)) return { kind: 'tiny', name, component };
  }
  return { kind: 'linear', space };
}

interface Space {
  channels: number;
  scale: number;
}

function tinySpace(config: TaesdConfig): Space {
  return { channels: config.latent_channels, scale: taesdScale(config) };
}

function fits(config: TaesdConfig, { latentSpace }: OpenModel): boolean {
  return config.out_channels === 3 && shapeOf(tinySpace(config)) === shapeOf(latentSpace);
}

function shapeOf({ channels, scale }: Space): string {
  return `${channels} channels of latents at 1/${scale}`;
}
