/** Lengths are shares of the board's width: boards change their size. */
export type Point = [x: number, y: number];

/** One movement of the pen. */
export interface Stroke {
  erase: boolean;
  /** Of the round tip. */
  width: number;
  points: Point[];
}

/** Draws strokes in order, white over the paint that is there already; erasers take away what lies below. */
export function drawStrokes(
  canvas: HTMLCanvasElement,
  strokes: readonly Stroke[],
  paint: HTMLCanvasElement | undefined,
): void {
  const context = canvas.getContext('2d')!;
  const { width } = canvas;
  context.clearRect(0, 0, width, canvas.height);
  if (paint) context.drawImage(paint, 0, 0);
  context.strokeStyle = '#fff';
  context.lineCap = 'round';
  context.lineJoin = 'round';
  for (const stroke of strokes) {
    context.globalCompositeOperation = stroke.erase ? 'destination-out' : 'source-over';
    context.lineWidth = stroke.width * width;
    context.beginPath();
    const [first, ...rest] = stroke.points.map(([x, y]) => [x * width, y * width] as const);
    context.moveTo(...first!);
    // A tap is a dot.
    if (rest.length === 0) context.lineTo(...first!);
    rest.forEach(([x, y], i) => {
      const next = rest[i + 1];
      // Through the middles between the points, so that there are no corners.
      if (next) context.quadraticCurveTo(x, y, (x + next[0]) / 2, (y + next[1]) / 2);
      else context.lineTo(x, y);
    });
    context.stroke();
  }
  context.globalCompositeOperation = 'source-over';
}
