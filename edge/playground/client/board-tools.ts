import type { Board } from './board.ts';
import { button, make } from './page.ts';

/**
 * Pen, eraser, size, undo, clear and a file, in a board's bar.
 * @returns what brings the buttons up to date with the board.
 */
export function boardTools(
  bar: Element,
  board: Board,
  { onClear, onFile }: { onClear: () => void; onFile: (file: File) => void },
): () => void {
  const choose = (erase: boolean) => {
    board.erase = erase;
    pen.setAttribute('aria-pressed', String(!erase));
    eraser.setAttribute('aria-pressed', String(erase));
  };
  const pen = button('Pen', () => choose(false));
  const eraser = button('Eraser', () => choose(true));
  choose(false);

  const tip = make('input', { type: 'range', min: '0.5', max: '20', step: '0.5' });
  tip.value = String(100 * board.tip);
  tip.addEventListener('input', () => {
    board.tip = Number(tip.value) / 100;
  });
  const size = make('label', {}, 'Size', tip);

  const undo = button('Undo', () => board.undo());
  const clear = button('Clear', onClear);
  const file = make('input', { type: 'file', accept: 'image/*', className: 'hidden' });
  file.addEventListener('change', () => {
    if (file.files?.[0]) onFile(file.files[0]);
    // The same file may be chosen again.
    file.value = '';
  });
  const open = make('label', { className: 'button' }, 'Open…', file);
  bar.append(pen, eraser, size, undo, clear, open);
  return () => {
    undo.disabled = !board.hasStrokes;
    clear.disabled = !board.hasPaint && !board.hasPicture;
  };
}
