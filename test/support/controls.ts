import { mkdir, mkdtemp, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { type FixtureCase, fixtureModel } from './fixtures.ts';

export const CONTROLNETS = [
  'tiny-controlnet-sd15-canny',
  'tiny-controlnet-sd15-depth',
  'tiny-controlnet-sdxl-canny',
];

/** A folder of models with a folder `controlnets` beside them, all of them fixtures. */
export async function homeWithControlNets(
  models: readonly string[],
  controls = CONTROLNETS,
): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  await mkdir(join(home, 'controlnets'));
  for (const name of models) await symlink(await fixtureModel(name), join(home, name));
  for (const name of controls) await symlink(await fixtureModel(name), join(home, 'controlnets', name));
  return home;
}

/** The i-th picture of a case, `in.NAME.i`, as a PNG file. */
export function pictureOf({ tensors }: FixtureCase, name: string, i = 0): Promise<Buffer> {
  const { shape, data } = tensors[`in.${name}.${i}`]!;
  const [height, width, channels = 1] = shape as [number, number, 1 | 3 | undefined];
  return sharp(Uint8Array.from(data), { raw: { width, height, channels } }).png().toBuffer();
}

/** A PNG whose pixel at (x, y) is `grey(x, y)`. */
export function greyPicture(
  width: number,
  height: number,
  grey: (x: number, y: number) => number,
): Promise<Buffer> {
  const data = Uint8Array.from({ length: width * height }, (_, i) => grey(i % width, Math.floor(i / width)));
  return sharp(data, { raw: { width, height, channels: 1 } })
    .png()
    .toBuffer();
}
