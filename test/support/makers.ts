import type { Connected } from './runtimes.ts';

/** Fields of a body; what stands in `Raw` goes into JSON as it is. */
export type Fields = Record<string, unknown>;

/** A literal that JSON.stringify would not write: 1e999, 2^53+1, half a surrogate pair. */
export class Raw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A route that makes images, and how its fields are called. */
export interface Maker {
  path: string;
  /** Whether it takes a form: everything in it is text. */
  isForm?: boolean;
  /** The public name of a field of generations'; undefined: the route has none of it. */
  nameOf: (field: string) => string | undefined;
  /** With these it makes a picture, in one step. */
  good: Fields;
  /** Where it takes pictures, by the name that errors have for the place: a file, or its text in base64. */
  pictures: Record<string, (picture: Uint8Array | string) => Fields>;
  send(edge: Connected, fields: Fields, headers?: Record<string, string>): Promise<Response>;
}

/** A white PNG of 64×64. */
export const PIXELS_64 =
  'iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAAEklEQVR42mP4DwUMo4xRBukMAOPT/hAC2mzjAAAAAElFTkSuQmCC';

const json =
  (path: string) =>
  (edge: Connected, fields: Fields, headers: Record<string, string> = {}) =>
    edge.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: jsonOf(fields),
    });

export function jsonOf(fields: Fields): string {
  const raws: string[] = [];
  const marked = JSON.stringify(fields, (_, value) =>
    value instanceof Raw ? `\u0001${raws.push(value.text) - 1}\u0001` : value,
  );
  return marked.replace(/"\\u0001(\d+)\\u0001"/g, (_, i) => raws[Number(i)]!);
}

const form =
  (path: string) =>
  (edge: Connected, fields: Fields, headers: Record<string, string> = {}) => {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields))
      if (value instanceof Uint8Array)
        body.append(name, new Blob([value as Uint8Array<ArrayBuffer>], { type: 'image/png' }), 'a.png');
      else if (value instanceof Raw) body.append(name, value.text);
      else body.append(name, typeof value === 'string' ? value : jsonOf({ value }).slice(9, -1));
    return edge.fetch(path, { method: 'POST', body, headers });
  };

const own = { prompt: 'x', steps: 1, size: '64x64' };
const theirs = { prompt: 'x', steps: 1, width: 64, height: 64 };
const file = Buffer.from(PIXELS_64, 'base64');
const as = (names: Record<string, string | undefined>) => (field: string) =>
  Object.hasOwn(names, field) ? names[field] : field;

/** What A1111's fields are called; a size is two of them, a LoRA stands in the prompt. */
const a1111Names = {
  ...{ n: 'batch_size', guidance_scale: 'cfg_scale', strength: 'denoising_strength', size: undefined },
  ...{ sampler: 'sampler_name', schedule: 'scheduler', loras: undefined, refiner: 'refiner_checkpoint' },
  ...{ init_image: 'init_images', prompt_syntax: undefined, decoder: undefined, hires_upscaler: undefined },
  ...{ model: undefined, control: undefined, guidance_rescale: undefined, clip_skip: undefined },
  masked_content: 'inpainting_fill',
};

const CONTROLNET = 'tiny-emoji-controlnet-canny';
const text = (picture: Uint8Array | string) =>
  typeof picture === 'string' ? picture : Buffer.from(picture).toString('base64');
const inControl = {
  'control[0].image': (image: Uint8Array | string) => ({
    control: [{ model: CONTROLNET, image: text(image) }],
  }),
};
const inUnit = {
  'alwayson_scripts.ControlNet.args[0].image': (image: Uint8Array | string) => ({
    alwayson_scripts: { ControlNet: { args: [{ model: CONTROLNET, image: text(image) }] } },
  }),
};
const inJson = {
  init_image: (image: Uint8Array | string) => ({ init_image: text(image) }),
  mask: (mask: Uint8Array | string) => ({ init_image: PIXELS_64, mask: text(mask) }),
  ...inControl,
};

/** By name: each route that makes images. */
export const makers: Record<string, Maker> = {
  generations: {
    path: '/v1/images/generations',
    nameOf: (field) => field,
    good: own,
    send: json('/v1/images/generations'),
    pictures: inJson,
  },
  edits: {
    path: '/v1/images/edits',
    isForm: true,
    nameOf: as({ init_image: 'image' }),
    good: { ...own, image: file },
    send: form('/v1/images/edits'),
    pictures: { image: (image) => ({ image }), mask: (mask) => ({ mask }), ...inControl },
  },
  variations: {
    path: '/v1/images/variations',
    isForm: true,
    nameOf: as({ init_image: 'image', mask: undefined }),
    good: { ...own, image: file },
    send: form('/v1/images/variations'),
    pictures: { image: (image) => ({ image }), ...inControl },
  },
  jobs: {
    path: '/v1/jobs',
    nameOf: (field) => field,
    good: own,
    send: json('/v1/jobs'),
    pictures: inJson,
  },
  txt2img: {
    path: '/sdapi/v1/txt2img',
    nameOf: as({
      ...{ ...a1111Names, init_image: undefined, mask: undefined, strength: undefined },
      masked_content: undefined,
    }),
    good: theirs,
    send: json('/sdapi/v1/txt2img'),
    pictures: inUnit,
  },
  img2img: {
    path: '/sdapi/v1/img2img',
    nameOf: as(a1111Names),
    good: { ...theirs, init_images: [PIXELS_64] },
    send: json('/sdapi/v1/img2img'),
    pictures: {
      'init_images[0]': (image) => ({ init_images: [text(image)] }),
      mask: (mask) => ({ mask: text(mask) }),
      ...inUnit,
    },
  },
};
