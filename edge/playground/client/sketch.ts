import { Board } from './board.ts';
import { boardTools } from './board-tools.ts';
import { fromDataUrl, toDataUrl } from './bytes.ts';
import { numberOf } from './numbers.ts';
import { byId } from './page.ts';
import { type PictureIn, readPicture, takeDropped } from './pictures-in.ts';
import { showProblem } from './problems.ts';
import { boardSize, type Size } from './sizes.ts';
import type { Body } from './types.ts';

/** What a ControlNet looks at: drawn here, or a picture. It takes part while its section is open. */
export function sketch() {
  const element = byId('control', HTMLDetailsElement);
  const board = new Board(element.querySelector('canvas')!, {
    ...{ ink: '#fff', opacity: 1 },
    onChange: () => updateTools(),
  });
  let picture: PictureIn | undefined;
  const setPicture = async (file: Blob) => {
    picture = await readPicture(file);
    board.setPicture(picture.bitmap);
  };
  const setFile = (file: Blob) =>
    setPicture(file).then(
      () => {
        const preprocessor = byId('preprocessor', HTMLSelectElement);
        // A picture that comes from elsewhere is seldom a hint.
        if (preprocessor.value === 'none' && preprocessor.options.namedItem('canny'))
          preprocessor.value = 'canny';
      },
      (error) => showProblem(error.message, 'control'),
    );
  const clear = () => {
    picture = undefined;
    board.setPicture(undefined);
    board.resize(size.width, size.height);
  };
  let size = boardSize({ width: 512, height: 512 });
  const updateTools = boardTools(element.querySelector('.tools')!, board, {
    onClear: clear,
    onFile: setFile,
  });
  takeDropped(element.querySelector('.drop')!, setFile);
  clear();

  return {
    element,
    setFile,
    /** The size of what is to be made. */
    setSize(made: Size) {
      size = boardSize(made);
      board.resize(size.width, size.height);
    },
    async read(): Promise<Pick<Body, 'control'>> {
      const model = byId('control_model', HTMLSelectElement).value;
      if (!element.open || !model || (!board.hasStrokes && !picture)) return {};
      const file = picture && !board.hasStrokes ? picture.file : await board.wholePng();
      const unit = {
        model,
        image: await toDataUrl(file),
        preprocessor: byId('preprocessor', HTMLSelectElement).value,
        scale: numberOf('control_scale'),
        start: numberOf('control_start'),
        end: numberOf('control_end'),
      };
      return { control: [unit] };
    },
    async restore({ control }: Body): Promise<void> {
      const unit = control?.[0];
      element.open = unit !== undefined;
      if (!unit) return;
      byId('control_model', HTMLSelectElement).value = unit.model;
      byId('preprocessor', HTMLSelectElement).value = unit.preprocessor ?? 'none';
      for (const name of ['scale', 'start', 'end'] as const)
        byId(`control_${name}`, HTMLInputElement).value = String(unit[name] ?? '');
      if (unit.image) await setPicture(fromDataUrl(unit.image as string));
    },
  };
}
