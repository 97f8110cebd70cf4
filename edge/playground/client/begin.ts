import { Board } from './board.ts';
import { boardKeys } from './board-keys.ts';
import { boardTools } from './board-tools.ts';
import { fromDataUrl, toDataUrl } from './bytes.ts';
import { numberOf } from './numbers.ts';
import { byId } from './page.ts';
import { type PictureIn, readPicture, takeDropped } from './pictures-in.ts';
import { showProblem } from './problems.ts';
import type { Size } from './sizes.ts';
import type { Body } from './types.ts';

/** The picture to begin from, and its mask: image to image. It takes part while its section is open. */
export function begin(onSize: () => void) {
  const element = byId('begin', HTMLDetailsElement);
  const canvas = element.querySelector('canvas')!;
  const empty = element.querySelector<HTMLElement>('.empty')!;
  const board = new Board(canvas, { ink: '#e0306a', opacity: 0.65, onChange: () => updateTools() });
  board.tip = 0.08;
  boardKeys(canvas, board);
  let picture: PictureIn | undefined;

  const setPicture = (next: PictureIn | undefined) => {
    picture = next;
    canvas.hidden = !next;
    empty.hidden = next !== undefined;
    board.setPicture(next?.bitmap);
    onSize();
  };
  const setFile = (file: Blob) =>
    readPicture(file).then(setPicture, (error) => showProblem(error.message, 'init_image'));
  const updateTools = boardTools(element.querySelector('.tools')!, board, {
    onClear: () => setPicture(undefined),
    onFile: setFile,
  });
  updateTools();
  takeDropped(element.querySelector('.drop')!, setFile);
  element.addEventListener('toggle', onSize);

  return {
    element,
    setFile,
    /** Of the picture, while there is one that takes part. */
    size: (): Size | undefined => (element.open ? picture?.bitmap : undefined),
    async read(): Promise<Pick<Body, 'init_image' | 'mask' | 'strength' | 'mask_blur' | 'keep_unmasked'>> {
      if (!element.open || !picture) return {};
      const init_image = await toDataUrl(picture.file);
      const strength = numberOf('strength');
      if (!board.hasPaint) return { init_image, strength };
      const mask = await toDataUrl(await board.paintPng());
      return { init_image, strength, mask, mask_blur: numberOf('mask_blur'), keep_unmasked: true };
    },
    async restore(body: Body): Promise<void> {
      element.open = Boolean(body.init_image);
      if (!body.init_image) return;
      setPicture(await readPicture(fromDataUrl(body.init_image as string)));
      if (body.mask) board.setPaint(await createImageBitmap(fromDataUrl(body.mask as string)));
      byId('strength', HTMLInputElement).value = String(body.strength ?? '');
      byId('mask_blur', HTMLInputElement).value = String(body.mask_blur ?? '');
    },
  };
}
