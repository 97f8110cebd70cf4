import { toPng } from './bytes.ts';
import { drawStrokes, type Stroke } from './strokes.ts';

export interface BoardOptions {
  /** What paint looks like over a picture; what is sent is white. */
  ink: string;
  /** How much of a picture is seen through it: 0…1. */
  opacity: number;
  onChange: () => void;
}

/** A canvas to draw on with pen, mouse or finger, over black or over a picture. */
export class Board {
  erase = false;
  /** Of the pen's tip, as a share of the board's width. */
  tip = 0.02;
  #strokes: Stroke[] = [];
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

  undo(): void {
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
  }

  #begin(event: PointerEvent): void {
    if (event.button !== 0 || !event.isPrimary) return;
    const stroke: Stroke = { erase: this.erase, width: this.tip, points: [this.#pointOf(event)] };
    this.#strokes.push(stroke);
    this.#draw();
    this.#canvas.setPointerCapture(event.pointerId);
    const move = (next: PointerEvent) => {
      const all = next.getCoalescedEvents?.() ?? [];
      stroke.points.push(...(all.length > 0 ? all : [next]).map((each) => this.#pointOf(each)));
      this.#draw();
    };
    const end = () => {
      this.#canvas.removeEventListener('pointermove', move);
      this.#options.onChange();
    };
    this.#canvas.addEventListener('pointermove', move);
    this.#canvas.addEventListener('lostpointercapture', end, { once: true });
  }

  #pointOf({ clientX, clientY }: PointerEvent): [number, number] {
    const { left, top, width } = this.#canvas.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / width];
  }
}
