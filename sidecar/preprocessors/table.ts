import * as canny from './canny.ts';
import type { Hint, RgbImage } from './image.ts';
import * as none from './none.ts';
import type { Options } from './options.ts';
import type { Sampling } from './resize.ts';

/** What a preprocessor's file exports: the numbers it can be given, and what it makes of a picture with all of them. */
interface Family {
  options: Options;
  run: (image: RgbImage, values: never, mask: Uint8Array) => Hint;
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
    aliases: [],
    what: 'the picture itself: a hint that is ready',
    family: none,
    sampling: 'crisp',
  },
  {
    name: 'canny',
    aliases: [],
    what: 'thin edges, white on black',
    family: canny,
  },
];

const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');

const rowByName = new Map(
  preprocessors.flatMap((row) => [row.name, ...row.aliases].map((name): [string, Row] => [plain(name), row])),
);

/** The preprocessor of that name, in any spelling; `none` where it is empty. */
export const findPreprocessor = (name: string): Row | undefined => rowByName.get(plain(name || 'none'));
