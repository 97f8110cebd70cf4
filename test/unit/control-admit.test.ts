import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { admitControls } from '../../sidecar/engine/control/admit.ts';
import { hintPixels } from '../../sidecar/engine/control/hint.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import { parseRequest } from '../../sidecar/engine/request.ts';
import { openPictures } from '../../sidecar/engine/request-plan/pictures.ts';
import { openControlNet } from '../../sidecar/models/components.ts';
import { fixtureModel } from '../support/fixtures.ts';

// What a hint for inpainting is to leave out: the request's mask, or what of its picture is transparent.

const NET = 'tiny-controlnet-sd15-canny';
const size = { width: 2, height: 1 };

let folders: ModelFolders;
let model: OpenModel;
let folder: { name: string; dir: string };
beforeAll(async () => {
  folder = { name: 'tiny-sd15', dir: await fixtureModel('tiny-sd15') };
  folders = new ModelFolders([folder.dir]);
  model = await OpenModel.open(folder);
});

const png = (channels: 1 | 3 | 4, ...values: number[]) =>
  sharp(Uint8Array.from(values), { raw: { ...size, channels } })
    .png()
    .toBuffer();
const opaque = () => png(3, 255, 0, 0, 0, 255, 0);
const halfTransparent = () => png(4, 255, 0, 0, 255, 0, 255, 0, 0);

async function hint(pictures: object, image?: Buffer): Promise<number[]> {
  const control = [{ model: NET, preprocessor: 'inpaint_only', image }];
  const request = parseRequest({ prompt: '', control, ...pictures });
  const [admitted] = await admitControls(request.control, {
    ...{ folders, folder, model, pictures: await openPictures(request) },
    ...{ files: new Map([[NET, await fixtureModel(NET)]]), open: (place) => openControlNet(place.dir) },
  });
  return [...(await hintPixels(admitted!.hint, size))];
}

describe('inpaint', () => {
  // Red is left out of the second pixel, then green, then blue.
  const left = [1, -1, 0, -1, 0, -1];

  test('the request has a mask', async () => {
    const mask = await png(1, 0, 255);
    expect(await hint({ initImage: await opaque(), mask })).toEqual(left);
    // Before the image's own transparency.
    const other = await png(1, 255, 0);
    expect((await hint({ initImage: await halfTransparent(), mask: other })).slice(0, 1)).toEqual([-1]);
  });

  test('the image, its own or that to begin from, has transparent parts', async () => {
    expect(await hint({}, await halfTransparent())).toEqual(left);
    expect(await hint({ initImage: await halfTransparent() })).toEqual(left);
  });

  test('neither', async () => {
    await expect(hint({ initImage: await opaque() })).rejects.toMatchObject({
      ...{ code: 'invalid_argument', field: 'control[0].preprocessor' },
      message:
        'Expected a mask, or an image with transparent parts, for control[0].preprocessor but received inpaint without either',
    });
  });
});
