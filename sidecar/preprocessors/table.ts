import * as blur from './blur.ts';
import * as canny from './canny.ts';
import * as gray from './gray.ts';
import type { Hint, RgbImage } from './image.ts';
import * as inpaint from './inpaint.ts';
import * as intensity from './intensity.ts';
import * as invert from './invert.ts';
import * as lineart from './lineart.ts';
import * as luminance from './luminance.ts';
import * as none from './none.ts';
import type { Options } from './options.ts';
import type { Sampling } from './resize.ts';
import * as scribble from './scribble.ts';
import * as scribbleXdog from './scribble-xdog.ts';
import * as segmentation from './segmentation.ts';
import * as softEdge from './soft-edge.ts';
import * as threshold from './threshold.ts';
import * as tile from './tile.ts';

/** What a preprocessor's file exports: the numbers it can be given, and what it makes of a picture with all of them. */
interface Family {
  options: Options;
  run: (image: RgbImage, values: never, mask?: Uint8Array) => Hint;
}

/** One preprocessor as the documentation and the errors list it. */
export interface Row {
  /** How it is named here. */
  name: string;
  /** Other spellings, among them A1111's; case and punctuation do not count. */
  aliases: string[];
  /** What the hint shows. */
  what: string;
  family: Family;
  /** Whether it needs a mask, [H,W], of what is to be made anew. */
  takesMask?: boolean;
  /** How the picture comes to the hint's size: as photographs do unless told otherwise. */
  sampling?: Sampling;
  /** What lies beside a picture that is smaller than the hint. */
  outside?: number;
}

/** Every preprocessor. A new one is a file and a row. */
export const preprocessors: readonly Row[] = [
  {
    name: 'none',
    aliases: ['identity'],
    what: 'the picture itself: a hint that is ready',
    family: none,
    sampling: 'crisp',
  },
  { name: 'canny', aliases: [], what: 'thin edges, white on black', family: canny },
  {
    name: 'soft-edge',
    aliases: ['sobel'],
    what: 'edges as bright as they are strong: the gradient',
    family: softEdge,
  },
  {
    name: 'scribble',
    aliases: [],
    what: 'the lines of a drawing, white on black',
    family: scribble,
  },
  {
    name: 'scribble-xdog',
    aliases: ['xdog'],
    what: 'lines where a picture is darker than around it, white on black',
    family: scribbleXdog,
  },
  {
    name: 'lineart',
    aliases: ['lineart_standard'],
    what: 'the lines of a dark drawing on light ground, light on black, with their shades',
    family: lineart,
  },
  {
    name: 'threshold',
    aliases: ['binary'],
    what: 'white where it is light, black elsewhere',
    family: threshold,
  },
  { name: 'invert', aliases: [], what: 'white for black and black for white', family: invert },
  {
    name: 'segmentation',
    aliases: ['seg'],
    what: 'a painted map of classes, each pixel in the nearest colour of a palette',
    family: segmentation,
    sampling: 'nearest',
  },
  {
    name: 'tile',
    aliases: ['tile_resample'],
    what: 'the picture without its details',
    family: tile,
  },
  { name: 'blur', aliases: ['blur_gaussian'], what: 'the picture blurred', family: blur },
  {
    name: 'inpaint',
    aliases: ['inpaint_only', 'inpaint_global_harmonious'],
    what: 'the picture, and nothing where the mask is white',
    family: inpaint,
    takesMask: true,
    outside: -1,
  },
  { name: 'gray', aliases: ['grayscale'], what: 'luma (ITU-R BT.601)', family: gray },
  {
    name: 'luminance',
    aliases: ['recolor_luminance'],
    what: 'lightness (L* of CIELAB)',
    family: luminance,
  },
  {
    name: 'intensity',
    aliases: ['recolor_intensity'],
    what: 'the largest of the three values (V of HSV)',
    family: intensity,
  },
];

/** What A1111's names of networks begin with, and what comes near their hints here. */
const networks: Record<string, string | undefined> = {
  softedge: 'soft-edge',
  hed: 'soft-edge',
  pidinet: 'soft-edge',
  teed: 'soft-edge',
  mlsd: 'canny',
  scribble: 'scribble-xdog',
  lineart: 'lineart',
  seg: 'segmentation',
  oneformer: 'segmentation',
  depth: undefined,
  normal: undefined,
  openpose: undefined,
  dwopenpose: undefined,
  animalopenpose: undefined,
  densepose: undefined,
  mediapipeface: undefined,
};

const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');

const rowByName = new Map(
  preprocessors.flatMap((row) => [row.name, ...row.aliases].map((name): [string, Row] => [plain(name), row])),
);

/** The preprocessor of that name, in any spelling, also with A1111's words on it in brackets; `none` where it is empty. */
export function findPreprocessor(name: string): Row | undefined {
  const opened = name.endsWith(')') ? name.indexOf(' (') : -1;
  const whole = rowByName.get(plain(name || 'none'));
  return whole ?? (opened < 0 ? undefined : rowByName.get(plain(name.slice(0, opened))));
}

/** Why there is no preprocessor of that name, where it is one that is a network. */
export function whyNot(name: string): string {
  const network = Object.keys(networks).find((start) => plain(name).startsWith(start));
  if (network === undefined) return '';
  const instead = networks[network] ? `, or take ${networks[network]}` : '';
  return `: a network makes that hint; bring it ready, with "none"${instead}`;
}
