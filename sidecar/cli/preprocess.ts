import { type Command, InvalidArgumentError, Option } from 'commander';
import sharp from 'sharp';
import { writeSafetensors } from '../checkpoints/write.ts';
import { openPicture, type Picture, transparentIn } from '../engine/picture.ts';
import {
  choosePreprocessor,
  type Hint,
  hintOf,
  hintPixels,
  hintTensor,
  type ResizeMode,
} from '../preprocessors/index.ts';
import { resizeModes } from '../preprocessors/resize.ts';
import { preprocessors } from '../preprocessors/table.ts';
import { pictureFile } from './files.ts';
import { size } from './options.ts';

interface PreprocessFlags {
  list?: boolean;
  image?: string;
  mask?: string;
  output?: string;
  option?: Record<string, number>;
  size?: { width: number; height: number };
  resize: ResizeMode;
}

export function preprocessCommand(command: Command): Command {
  return command
    .argument('[name]', 'of a preprocessor: canny, soft-edge, scribble, …')
    .option('--list', 'print every preprocessor and its options')
    .option('--image <file>', 'PNG, JPEG or WebP')
    .option(
      '--mask <file>',
      'for inpaint, what is to be made anew: white (default: what is transparent in the image)',
    )
    .option(
      '--output <file>',
      '.png; or .safetensors: `controlnet_cond` [1, 3, H, W], as `latent-edge module` takes it',
    )
    .option('--option <name=x>', 'a number of the preprocessor (repeatable): low_threshold=60', namedNumber)
    .option('--size <WxH>', "of the hint (default: the picture's own)", size)
    .addOption(
      new Option('--resize <mode>', 'to that size')
        .choices(Object.keys(resizeModes))
        .default('crop' satisfies ResizeMode),
    )
    .action(run);
}

async function run(name: string | undefined, flags: PreprocessFlags): Promise<void> {
  if (flags.list) return list();
  const preprocessor = choosePreprocessor(needed(name, 'the name of a preprocessor'), flags.option);
  const output = needed(flags.output, '--output');
  if (!/\.(png|safetensors)$/i.test(output))
    throw new InvalidArgumentError(
      `Expected a file name ending in .png or .safetensors for --output but received ${output}`,
    );
  if (flags.mask !== undefined && !preprocessor.row.takesMask)
    throw new InvalidArgumentError(
      `Expected no --mask for ${preprocessor.row.name} but received ${flags.mask}`,
    );
  const picture = await openFile(flags.image, '--image');
  const { width, height } = picture;
  const image = { data: await picture.rgb(picture), width, height };
  const mask = preprocessor.row.takesMask ? await maskOf(picture, flags.mask) : undefined;
  const hint = hintOf(preprocessor, image, flags.size ?? picture, flags.resize, mask);
  await save(hint, output);
  console.log(output);
}

async function openFile(path: string | undefined, option: string) {
  return openPicture(await pictureFile(option, needed(path, option)), option);
}

/** [H,W] of the picture's size: from a file, or what of the picture is transparent. */
async function maskOf(picture: Picture, path: string | undefined): Promise<Uint8Array> {
  const transparent = path === undefined ? transparentIn(picture) : undefined;
  return (transparent ?? (await openFile(path, '--mask'))).grey(picture);
}

function list(): void {
  for (const { name, aliases, what, family } of preprocessors) {
    console.log([[name, ...aliases].join(', '), what].join(': '));
    for (const [option, { what, default: value, min, max }] of Object.entries(family.options))
      console.log(`  ${option}=${value} (${min} to ${max}): ${what}`);
  }
}

async function save(hint: Hint, file: string): Promise<void> {
  const { width, height } = hint;
  const tensor = hintTensor(hint);
  if (/\.safetensors$/i.test(file))
    return writeSafetensors(file, { controlnet_cond: { shape: [1, 3, height, width], data: tensor } });
  await sharp(hintPixels(hint), { raw: { width, height, channels: 3 } })
    .png()
    .toFile(file);
  if (tensor.includes(-1)) console.error(`${file}: black where the hint is −1, which a PNG cannot hold`);
}

function needed(value: string | undefined, what: string): string {
  if (value === undefined) throw new InvalidArgumentError(`Expected ${what} but received nothing`);
  return value;
}

/** Another `NAME=NUMBER`. */
function namedNumber(text: string, previous: Record<string, number> = {}): Record<string, number> {
  const match = /^([a-z0-9_]+)=(.+)$/i.exec(text);
  const value = match && match[2]!.trim() !== '' ? Number(match[2]) : Number.NaN;
  if (!match || Number.isNaN(value))
    throw new InvalidArgumentError(`Expected NAME=NUMBER but received ${JSON.stringify(text)}.`);
  return { ...previous, [match[1]!]: value };
}
