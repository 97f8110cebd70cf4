import { Board } from './board.ts';
import { boardKeys } from './board-keys.ts';
import { boardTools } from './board-tools.ts';
import { fromDataUrl, toDataUrl } from './bytes.ts';
import { setOptions } from './page.ts';
import { type PictureIn, readPicture, takeDropped } from './pictures-in.ts';
import { showProblem } from './problems.ts';
import { boardSize, type Size } from './sizes.ts';
import type { Body, Model, Names } from './types.ts';

type Unit = NonNullable<NonNullable<Body['control']>[number]>;

/** What one ControlNet looks at: drawn here, or a picture. It takes part while its section is open. */
export function sketch(element: HTMLDetailsElement) {
  const select = (field: string) => element.querySelector<HTMLSelectElement>(`[data-field="${field}"]`)!;
  const input = (field: string) => element.querySelector<HTMLInputElement>(`[data-field="${field}"]`)!;
  const [model, preprocessor] = [select('model'), select('preprocessor')];
  const numbers = ['scale', 'start', 'end'] as const;
  const canvas = element.querySelector('canvas')!;
  const board = new Board(canvas, { ink: '#fff', opacity: 1, onChange: () => updateTools() });
  boardKeys(canvas, board);
  let picture: PictureIn | undefined;
  const setPicture = async (file: Blob) => {
    picture = await readPicture(file);
    board.setPicture(picture.bitmap);
  };
  const setFile = (file: Blob) =>
    setPicture(file).then(
      () => {
        // A picture that comes from elsewhere is seldom a hint.
        if (preprocessor.value === 'none' && [...preprocessor.options].some(({ value }) => value === 'canny'))
          preprocessor.value = 'canny';
      },
      (error) => showProblem(error.message, element.dataset.param),
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
    /** Fills in what there is to choose from. */
    offer(nets: Model[], { preprocessors }: Names): void {
      const none = [{ value: '', text: 'this server has none' }];
      const named = nets.map(({ id }) => ({ value: id, text: id }));
      setOptions(model, 0, named.length > 0 ? named : none);
      const others = preprocessors.filter(({ name }) => name !== 'none');
      setOptions(
        preprocessor,
        1,
        others.map(({ name, what }) => ({ value: name, text: `${name}: ${what}` })),
      );
    },
    /** The size of what is to be made. */
    setSize(made: Size): void {
      size = boardSize(made);
      board.resize(size.width, size.height);
    },
    /** Whether there is something to send. */
    takesPart: () => element.open && model.value !== '' && (board.hasStrokes || picture !== undefined),
    async read(): Promise<Unit> {
      const file = picture && !board.hasStrokes ? picture.file : await board.wholePng();
      const number = (field: string) => (input(field).value === '' ? undefined : Number(input(field).value));
      return {
        model: model.value,
        image: await toDataUrl(file),
        preprocessor: preprocessor.value,
        ...Object.fromEntries(numbers.map((name) => [name, number(name)])),
      };
    },
    async restore(unit: Unit | undefined): Promise<void> {
      element.open = unit !== undefined;
      if (!unit) return;
      model.value = unit.model;
      preprocessor.value = unit.preprocessor ?? 'none';
      for (const name of numbers) input(name).value = String(unit[name] ?? '');
      if (unit.image) await setPicture(fromDataUrl(unit.image as string));
    },
  };
}

export type Sketch = ReturnType<typeof sketch>;
