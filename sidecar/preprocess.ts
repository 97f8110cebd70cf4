import sharp from 'sharp';
import type { PreprocessRequest__Output } from '../proto/gen/latentedge/v1/PreprocessRequest.ts';
import type { PreprocessResponse } from '../proto/gen/latentedge/v1/PreprocessResponse.ts';
import { MAX_PIXELS, openPicture, type Picture, transparentIn } from './engine/picture.ts';
import { errors } from './errors.ts';
import { choosePreprocessor, type Hint, hintPixels, readResizeMode } from './preprocessors/index.ts';
import { hintInThread } from './preprocessors/thread.ts';
import { Room } from './room.ts';

/** Pixels of a hint: some preprocessors take a second for so many. */
const MAX_HINT_PIXELS = 2 ** 22;

/** Calls that may wait, or be at work: each holds its picture's file. */
const CALLS = 16;

/** Of a retry hint, in milliseconds. */
const HINT = { least: 500, most: 60_000 };

/** The calls for hints of pictures. */
export class Preprocessing {
  readonly #limit: number;
  /** Of pixels that are decoded at once: others wait with their files. */
  readonly #decoded: Room;
  #calls = 0;
  /** Milliseconds that the last of them waited and worked. */
  #lastMs = 0;

  /** @param pixels of all pictures that are decoded at once; default: as many as one may have. */
  constructor(limit = CALLS, pixels = MAX_PIXELS) {
    this.#limit = limit;
    this.#decoded = new Room(pixels);
  }

  /**
   * The hint of a picture, as a ControlNet would look at it.
   * @throws ServiceError invalid_argument, queue_full; the signal's reason.
   */
  async run(request: PreprocessRequest__Output, signal?: AbortSignal): Promise<PreprocessResponse> {
    // When half of those before it were done, were they as many as now.
    const retryAfterMs = Math.round(Math.min(HINT.most, Math.max(HINT.least, this.#lastMs / 2)));
    if (this.#calls >= this.#limit) throw errors.queueFull(this.#calls, retryAfterMs);
    const began = performance.now();
    this.#calls++;
    try {
      const response = await preprocess(request, this.#decoded, signal);
      this.#lastMs = performance.now() - began;
      return response;
    } finally {
      this.#calls--;
    }
  }
}

async function preprocess(
  request: PreprocessRequest__Output,
  decoded: Room,
  signal: AbortSignal | undefined,
): Promise<PreprocessResponse> {
  const preprocessor = choosePreprocessor(request.preprocessor, request.preprocessorOptions);
  const mode = readResizeMode(request.resize, 'resize');
  const picture = await openPicture(request.image, 'image');
  const size = { width: request.width || picture.width, height: request.height || picture.height };
  if (size.width * size.height > MAX_HINT_PIXELS)
    throw errors.unexpected(
      'width',
      `a hint of at most ${MAX_HINT_PIXELS} pixels`,
      `${size.width}x${size.height}`,
    );
  const mask = preprocessor.row.takesMask ? await openMask(picture, request.mask) : undefined;
  const { width, height } = picture;
  // One is decoded after the other.
  const pixels = Math.max(width * height, mask ? mask.width * mask.height : 0);
  const giveBack = await decoded.take(pixels, signal);
  try {
    const image = { data: await picture.rgb(picture), width, height };
    const hint = await hintInThread(preprocessor, image, size, mode, await mask?.grey(picture), { signal });
    const file = { data: await encode(hint), format: 'IMAGE_FORMAT_PNG' as const };
    return { hint: { ...file, width: hint.width, height: hint.height } };
  } finally {
    giveBack();
  }
}

/** From a file, or what of the picture is transparent. */
async function openMask(picture: Picture, file: Uint8Array): Promise<Picture> {
  const mask = file.length > 0 ? await openPicture(file, 'mask') : transparentIn(picture);
  if (!mask) throw errors.unexpected('mask', 'a mask, or an image with transparent parts,', 'neither');
  return mask;
}

function encode(hint: Hint): Promise<Buffer> {
  const { width, height } = hint;
  return sharp(hintPixels(hint), { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
