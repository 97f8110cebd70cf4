import type { Board } from './board.ts';
import { announce } from './page.ts';
import type { Point } from './strokes.ts';

const ARROWS: Record<string, Point> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
/** How far an arrow moves the pen, in shares of the board's width; with Shift a quarter of it. */
const REACH = 0.02;

/** Draws by keys while the canvas has the focus: arrows move the pen, Space puts it down and lifts it. */
export function boardKeys(canvas: HTMLCanvasElement, board: Board): void {
  let at: Point = [0.5, 0.5];
  canvas.tabIndex = 0;
  // Keys are the board's, not the screen reader's.
  canvas.setAttribute('role', 'application');
  canvas.addEventListener('keydown', (event) => {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey || (!arrow && event.key !== ' ')) return;
    event.preventDefault();
    if (arrow) {
      const reach = event.shiftKey ? REACH / 4 : REACH;
      const within = (place: number, most: number) => Math.min(most, Math.max(0, place));
      at = [within(at[0] + reach * arrow[0], 1), within(at[1] + reach * arrow[1], board.shape)];
      if (board.isPenDown) board.penTo(at);
    } else if (!event.repeat) {
      if (board.isPenDown) board.penUp();
      else board.penDown(at);
      announce(board.isPenDown ? 'The pen is down' : 'The pen is up');
    }
    board.cursor = at;
  });
  canvas.addEventListener('focus', () => {
    if (canvas.matches(':focus-visible')) board.cursor = at;
  });
  canvas.addEventListener('blur', () => {
    board.penUp();
    board.cursor = undefined;
  });
}
