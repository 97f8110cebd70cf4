import { stat } from 'node:fs/promises';
import { CheckpointError } from '../../checkpoints/error.ts';
import { errors, ServiceError } from '../../errors.ts';
import type { Component } from '../../models/components.ts';
import { type ControlNetConfig, checkControlNet, residualCount } from '../../models/controlnet-config.ts';
import { choosePreprocessor } from '../../preprocessors/index.ts';
import type { ModelFolders, NamedFolder } from '../model-folders.ts';
import type { OpenModel } from '../open-model.ts';
import { openPicture, transparentIn } from '../picture.ts';
import type { Pictures } from '../request-plan/pictures.ts';
import type { HintSource } from './hint.ts';
import { type ControlUnit, fieldOf } from './units.ts';

/** A ControlNet that a request may have: found, read but for its weights, fit for the model, with a picture. */
export interface AdmittedControl {
  unit: ControlUnit;
  place: NamedFolder;
  component: Component<ControlNetConfig>;
  hint: HintSource;
}

export interface Admission {
  folders: ModelFolders;
  /** The model that they steer, and where it lies. */
  model: OpenModel;
  folder: NamedFolder;
  /** Of the request: what a unit without an image looks at. */
  pictures: Pictures;
  open: (place: NamedFolder) => Promise<Component<ControlNetConfig>>;
  /** ControlNets by name beside those of the folders. */
  files?: ReadonlyMap<string, string> | undefined;
}

/**
 * Finds and checks a request's ControlNets before it waits.
 * @throws ServiceError naming the unit and its field; for one made for another base, what differs.
 */
export async function admitControls(
  units: readonly ControlUnit[],
  admission: Admission,
): Promise<AdmittedControl[]> {
  if (units.length === 0) return [];
  const { checkpoint, name } = admission.model;
  if (checkpoint.kind === 'unconditional')
    throw errors.unexpected('control', `nothing, as ${name} takes no text and no ControlNet,`, 'ControlNets');
  const places = await placesOf(admission);
  const admitted = [];
  for (const [i, unit] of units.entries()) {
    const place = places.get(unit.model);
    if (!place) throw errors.controlNetNotFound(fieldOf(i, 'model'), unit.model, [...places.keys()].sort());
    const component = await unusable(i, admission.open(place));
    fits(i, component, checkpoint.unet.config, place);
    levelsFit(i, unit, component.config);
    const hint = await hintSource(i, unit, admission.pictures);
    admitted.push({ unit, place, component, hint });
  }
  return admitted;
}

async function placesOf({ folders, folder, files }: Admission): Promise<Map<string, NamedFolder>> {
  const named = [];
  for (const [name, dir] of files ?? [])
    if (await stat(dir).catch(() => undefined)) named.push({ name, dir });
  const all = [...named, ...(await folders.controlNets(folder))];
  return new Map(all.reverse().map((place) => [place.name, place]));
}

async function unusable<T>(i: number, opening: Promise<T>): Promise<T> {
  return opening.catch((error: Error) => {
    if (!(error instanceof CheckpointError)) throw error;
    const field = fieldOf(i, 'model');
    throw new ServiceError('checkpoint_unusable', `${field}: ${error.message}`, { field, cause: error });
  });
}

/** That a ControlNet was made for such a model. */
function fits(
  i: number,
  { config }: Component<ControlNetConfig>,
  unet: Parameters<typeof checkControlNet>[0],
  { name, dir }: NamedFolder,
): void {
  const field = fieldOf(i, 'model');
  if (config.conditioning_channels !== 3)
    throw errors.unexpected(
      field,
      'a ControlNet for pictures of 3 channels',
      `${name}, for ${config.conditioning_channels}`,
    );
  try {
    checkControlNet(unet, config, dir);
  } catch (error) {
    throw new ServiceError('invalid_argument', `${field}: ${(error as Error).message}`, {
      field,
      cause: error,
    });
  }
}

function levelsFit(i: number, { levelScale, model }: ControlUnit, config: ControlNetConfig): void {
  const count = residualCount(config);
  if (levelScale.length > 0 && levelScale.length !== count)
    throw errors.unexpected(
      fieldOf(i, 'level_scale'),
      `${count} numbers, one for each residual of ${model},`,
      `${levelScale.length}`,
    );
}

async function hintSource(i: number, unit: ControlUnit, { image, mask }: Pictures): Promise<HintSource> {
  const { resize, preprocessorOptions } = unit;
  const preprocessor = choosePreprocessor(unit.preprocessor, preprocessorOptions, `control[${i}]`);
  const field = fieldOf(i, 'image');
  const picture = unit.image ? await openPicture(unit.image, field) : image;
  if (!picture) throw errors.unexpected(field, 'an image, as there is no init_image,', 'nothing');
  if (!preprocessor.row.takesMask) return { picture, preprocessor, resize };
  const anew = mask ?? transparentIn(picture);
  if (!anew)
    throw errors.unexpected(
      fieldOf(i, 'preprocessor'),
      'a mask, or an image with transparent parts,',
      `${preprocessor.row.name} without either`,
    );
  return { picture, preprocessor, resize, mask: anew };
}
