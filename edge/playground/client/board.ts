import { toPng } from './bytes.ts';
import { drawStrokes, type Point, type Stroke } from './strokes.ts';

export interface BoardOptions {
  /** What paint looks like over a picture; what is sent is white. */
  ink: string;
  /** How much of a picture is seen through it: 0…1. */
  opacity: number;
  onChange: () => void;
}

/** A canvas to draw on with pen, mouse, finger or keys (board-keys.ts), over black or over a picture. */
export class Board {
  erase = false;
  /** Of the pen's tip, as a share of the board's width. */
  tip = 0.02;
  #strokes: Stroke[] = [];
  /** The one that is being drawn. */
  #stroke: Stroke | undefined;
  #cursor: Point | undefined;
  #picture: ImageBitmap | undefined;
  /** Paint that was there before the strokes. */
  #paint: HTMLCanvasElement | undefined;
  readonly #canvas: HTMLCanvasElement;
  readonly #layer = document.createElement('canvas');
  readonly #options: BoardOptions;

  constructor(canvas: HTMLCanvasElement, options: BoardOptions) {
    this.#canvas = canvas;
    this.#options = options;
    canvas.addEventListener('pointerdown', (event) => this.#begin(event));
  }

  get isPenDown(): boolean {
    return this.#stroke !== undefined;
  }

  /** Height by width. */
  get shape(): number {
    return this.#canvas.height / this.#canvas.width;
  }

  /** Where keys draw, which is shown; undefined: nowhere. */
  set cursor(at: Point | undefined) {
    this.#cursor = at;
    this.#draw();
  }

  get hasStrokes(): boolean {
    return this.#strokes.length > 0;
  }

  get hasPaint(): boolean {
    return this.hasStrokes || this.#paint !== undefined;
  }

  get hasPicture(): boolean {
    return this.#picture !== undefined;
  }

  /** Pixels; a picture that is there keeps its own. */
  resize(width: number, height: number): void {
    if (this.#picture || (width === this.#canvas.width && height === this.#canvas.height)) return;
    this.#setSize(width, height);
  }

  /** Takes away what was drawn. */
  setPicture(picture: ImageBitmap | undefined): void {
    this.#picture = picture;
    this.#paint = undefined;
    this.#strokes = [];
    this.#stroke = undefined;
    if (picture) this.#setSize(picture.width, picture.height);
    else this.#draw();
    this.#options.onChange();
  }

  /** Paints as a picture says: where it is white. */
  setPaint(mask: ImageBitmap): void {
    const { width, height } = this.#canvas;
    this.#paint = Object.assign(document.createElement('canvas'), { width, height });
    const context = this.#paint.getContext('2d')!;
    context.drawImage(mask, 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const white = pixels.data[i]!;
      pixels.data.set([255, 255, 255, white], i);
    }
    context.putImageData(pixels, 0, 0);
    this.#draw();
    this.#options.onChange();
  }

  penDown(at: Point): void {
    this.penUp();
    this.#stroke = { erase: this.erase, width: this.tip, points: [at] };
    this.#strokes.push(this.#stroke);
    this.#draw();
  }

  /** Draws, while the pen is down. */
  penTo(...points: Point[]): void {
    this.#stroke?.points.push(...points);
    this.#draw();
  }

  penUp(): void {
    if (!this.#stroke) return;
    this.#stroke = undefined;
    this.#options.onChange();
  }

  undo(): void {
    this.#stroke = undefined;
    this.#strokes.pop();
    this.#draw();
    this.#options.onChange();
  }

  /** The paint alone, white on black, of the board's size. */
  paintPng(): Promise<Blob> {
    return this.#composed(undefined);
  }

  /** The picture, or black, with white strokes over it. */
  wholePng(): Promise<Blob> {
    return this.#composed(this.#picture);
  }

  #composed(picture: ImageBitmap | undefined): Promise<Blob> {
    const { width, height } = this.#canvas;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const context = canvas.getContext('2d')!;
    context.fillRect(0, 0, width, height);
    if (picture) context.drawImage(picture, 0, 0);
    context.drawImage(this.#layer, 0, 0);
    return toPng(canvas);
  }

  #setSize(width: number, height: number): void {
    for (const canvas of [this.#canvas, this.#layer]) Object.assign(canvas, { width, height });
    this.#draw();
  }

  #draw(): void {
    const { width, height } = this.#canvas;
    drawStrokes(this.#layer, this.#strokes, this.#paint);
    const context = this.#canvas.getContext('2d')!;
    context.globalAlpha = 1;
    // The paint's colour where there is paint, then all else below it.
    context.clearRect(0, 0, width, height);
    context.drawImage(this.#layer, 0, 0);
    context.globalCompositeOperation = 'source-in';
    context.globalAlpha = this.#picture ? this.#options.opacity : 1;
    context.fillStyle = this.#options.ink;
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = 'destination-over';
    context.globalAlpha = 1;
    if (this.#picture) context.drawImage(this.#picture, 0, 0);
    else {
      context.fillStyle = '#000';
      context.fillRect(0, 0, width, height);
    }
    context.globalCompositeOperation = 'source-over';
    if (this.#cursor) this.#drawCursor(context, this.#cursor);
  }

  /** A ring of the pen's size, seen on light and dark. */
  #drawCursor(context: CanvasRenderingContext2D, [x, y]: Point): void {
    const { width } = this.#canvas;
    context.beginPath();
    context.arc(x * width, y * width, Math.max(0.015, this.tip / 2) * width, 0, 2 * Math.PI);
    for (const [line, colour] of [
      [0.01, '#fff'],
      [0.005, this.#stroke ? '#e0306a' : '#000'],
    ] as const) {
      context.lineWidth = line * width;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  #begin(event: PointerEvent): void {
    if (event.button !== 0 || !event.isPrimary) return;
    this.#cursor = undefined;
    this.penDown(this.#pointOf(event));
    this.#canvas.setPointerCapture(event.pointerId);
    const move = (next: PointerEvent) => {
      const all = next.getCoalescedEvents?.() ?? [];
      this.penTo(...(all.length > 0 ? all : [next]).map((each) => this.#pointOf(each)));
    };
    const end = () => {
      this.#canvas.removeEventListener('pointermove', move);
      this.penUp();
    };
    this.#canvas.addEventListener('pointermove', move);
    this.#canvas.addEventListener('lostpointercapture', end, { once: true });
  }

  #pointOf({ clientX, clientY }: PointerEvent): Point {
    const { left, top, width } = this.#canvas.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / width];
  }
}
