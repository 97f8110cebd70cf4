// torch.nn.functional.interpolate with align_corners=False, of latents.

/** Where an output's value comes from, along one axis: places of the input, and how much each counts. */
type Taps = (at: number, from: number, to: number) => [places: number[], weights: number[]];

/** The middle of output pixel `at` in the input's pixels. */
const centre = (at: number, from: number, to: number) => (at + 0.5) * (from / to) - 0.5;

// The quotient is rounded to float32 as torch does it, since it decides between neighbours.
const scaled = (at: number, from: number, to: number) => Math.fround(at * Math.fround(from / to));

/** Keys' cubic kernel with a = −0.75: 10.1109/TASSP.1981.1163711. */
function cubic(distance: number): number {
  const [a, x] = [-0.75, Math.abs(distance)];
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

const taps = {
  nearest: (at, from, to) => [[Math.floor(scaled(at, from, to))], [1]],
  'nearest-exact': (at, from, to) => [[Math.floor(scaled(at + 0.5, from, to))], [1]],
  bilinear: (at, from, to) => {
    const x = Math.max(0, centre(at, from, to));
    const first = Math.floor(x);
    return [
      [first, first + 1],
      [1 - (x - first), x - first],
    ];
  },
  bicubic: (at, from, to) => {
    const x = centre(at, from, to);
    const places = [-1, 0, 1, 2].map((i) => Math.floor(x) + i);
    return [places, places.map((place) => cubic(x - place))];
  },
} satisfies Record<string, Taps>;

export type InterpolationMode = keyof typeof taps;

/** x [C,h,w] → [C,H,W], whatever lies before the last two dimensions. Beyond the edges is what lies at them. */
export function interpolate(
  x: Float32Array,
  [h, w]: readonly [h: number, w: number],
  [H, W]: readonly [H: number, W: number],
  mode: InterpolationMode,
): Float32Array {
  const planes = x.length / (h * w);
  const wide = resizeAxis(x, planes * h, w, 1, W, taps[mode]);
  return resizeAxis(wide, planes, h, W, H, taps[mode]);
}

/** The middle one of three axes: [outer,from,inner] → [outer,to,inner]. */
function resizeAxis(
  x: Float32Array,
  outer: number,
  from: number,
  inner: number,
  to: number,
  tapsOf: Taps,
): Float32Array {
  const out = new Float32Array(outer * to * inner);
  for (let at = 0; at < to; at++) {
    const [places, weights] = tapsOf(at, from, to);
    const rows = places.map((place) => Math.min(from - 1, Math.max(0, place)) * inner);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (const [tap, row] of rows.entries()) sum += weights[tap]! * x[o * from * inner + row + i]!;
        out[(o * to + at) * inner + i] = sum;
      }
  }
  return out;
}
