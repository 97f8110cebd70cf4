import { stat, writeFile } from 'node:fs/promises';
import { basename, dirname, parse, resolve } from 'node:path';
import { SingleBar } from 'cli-progress';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { WeightStorage } from '../checkpoints/weights.ts';
import { writeSafetensors } from '../checkpoints/write.ts';
import { Engine, type GenerateResult } from '../engine/engine.ts';
import { upscalers } from '../engine/hires.ts';
import type { ImageFormat } from '../engine/image-file.ts';
import { maskedContents } from '../engine/masked-content.ts';
import type { ImageRequestInput } from '../engine/request.ts';
import { modelFolders } from '../engine/roots.ts';
import { schedules } from '../samplers/table.ts';
import { CONTROL_SYNTAX, type ControlFlag, controlFiles, controls, controlUnits } from './control-option.ts';
import { noFile, pictureFile } from './files.ts';
import { stepsText } from './models/text.ts';
import {
  anySize,
  corner,
  type DeviceOptions,
  deviceOptions,
  type LoraFlag,
  loras,
  number,
  openOptions,
  seeds,
  size,
  weightsOption,
  wholeNumber,
} from './options.ts';

interface GenerateFlags extends DeviceOptions {
  weights: WeightStorage;
  prompt?: string;
  negative: string;
  promptSyntax?: string;
  model?: string;
  seed?: number[];
  steps?: number;
  guidance?: number;
  guidanceRescale?: number;
  sampler?: string;
  schedule?: string;
  eta?: number;
  clipSkip?: number;
  lora?: LoraFlag[];
  control?: ControlFlag[];
  guessMode?: boolean;
  size?: { width: number; height: number };
  originalSize?: { width: number; height: number };
  crop?: { left: number; top: number };
  targetSize?: { width: number; height: number };
  count?: number;
  initImage?: string;
  strength?: number;
  refiner?: string;
  refinerStart?: number;
  hires?: number;
  hiresStrength?: number;
  hiresUpscaler?: string;
  decoder?: string;
  mask?: string;
  maskBlur?: number;
  onlyMasked?: number;
  keepUnmasked?: boolean;
  maskedContent?: string;
  output?: string;
  quality?: number;
  saveLatents?: string;
  quiet?: boolean;
}

export function generateCommand(command: Command): Command {
  command
    .option('--prompt <text>', 'what to show; needed but by models that take no text')
    .option('--negative <text>', 'what to keep away from', '')
    .addOption(
      new Option(
        '--prompt-syntax <name>',
        'weighted: (a:1.3), [b], BREAK, learned words, any length; plain: as it stands, cut at 77 tokens',
      )
        .choices(['weighted', 'plain'])
        .default('weighted'),
    )
    .option(
      '--model <path|name>',
      'a folder in diffusers layout, a .safetensors file, or a name that `latent-edge models` lists',
    )
    .option(
      '--seed <n>',
      'one for all images, as in diffusers, or one for each: 1,2,3 (default: drawn)',
      seeds,
    )
    .option('--steps <n>', "denoising steps (default: the model's)", wholeNumber(1, 1000))
    .option('--guidance <x>', "classifier-free guidance; 1: off (default: the model's)", number(0, 100))
    .option('--guidance-rescale <x>', 'share of the standard deviation to draw back, 0 to 1', number(0, 1))
    .option('--sampler <name>', "ddim, euler-ancestral, … (default: the model's)")
    .option('--schedule <name>', `spacing of the noise levels: ${Object.keys(schedules).join(', ')}`)
    .option('--eta <x>', 'share of fresh noise in DDIM and TCD, 0 to 1 (default: 0)', number(0, 1))
    .option('--clip-skip <n>', 'last layers of the text encoder to leave out', wholeNumber(0, 11))
    .option(
      '--lora <name|file[:scale]>',
      'an adapter to add (repeatable): the name of a file in a folder loras beside the models, or a file',
      loras,
    )
    .option(
      '--control <fields>',
      `a ControlNet and its picture (repeatable): ${CONTROL_SYNTAX.replaceAll('[,', ' [,')}; docs/controlnet.md`,
      controls,
    )
    .option('--guess-mode', 'let the control pictures alone say what to draw')
    .option('--size <WxH>', "pixels (default: the model's)", size)
    .option(
      '--original-size <WxH>',
      'Stable Diffusion XL: size of the picture before it was scaled (default: its own)',
      anySize,
    )
    .option('--crop <left,top>', 'Stable Diffusion XL: what was cut off of it (default: 0,0)', corner)
    .option('--target-size <WxH>', 'Stable Diffusion XL: size that it was given (default: its own)', anySize)
    .option('--count <n>', 'images', wholeNumber(1, 64))
    .option('--init-image <file>', 'PNG, JPEG or WebP to begin from (default: noise)')
    .option(
      '--strength <x>',
      'share of the steps to run on it, 0 to 1 (default: 0.8; with a mask 1)',
      number(0, 1),
    )
    .option('--refiner <path|name>', "a model that goes on towards the end: Stable Diffusion XL's refiner")
    .option(
      '--refiner-start <x>',
      'share of the noise schedule behind when it does, 0 to 1 (default: 0.8)',
      number(0, 1),
    )
    .option('--hires <x>', 'go over each image a second time, enlarged so many times, 1 to 4', number(1, 4))
    .option('--hires-strength <x>', 'share of the steps to run then, 0 to 1 (default: 0.5)', number(0, 1))
    .addOption(
      new Option(
        '--hires-upscaler <name>',
        'pixel: the picture is enlarged (default); the others: its latents, bilinear, …',
      ).choices(Object.keys(upscalers)),
    )
    .option(
      '--decoder <name|folder>',
      "what makes the pictures: an AutoencoderTiny (default: the model's own autoencoder)",
    )
    .option('--mask <file>', 'what of it to make anew: white; of the same size')
    .option('--mask-blur <px>', "soften the mask's edges", wholeNumber(0, 256))
    .option(
      '--only-masked <px>',
      'work on the part around the mask alone, with that much beside it',
      wholeNumber(0, 4096),
    )
    .option('--keep-unmasked', 'put the own pixels back where the mask is black')
    .addOption(
      new Option(
        '--masked-content <name>',
        'what is made anew begins from: the picture (default), the colours around it, noise or zeros',
      ).choices(maskedContents),
    )
    .option(
      '--output <file>',
      '.png, .jpg or .webp; with several images %d stands for their number (default: latent-edge-SEED.png)',
    )
    .option('--quality <n>', 'of JPEG and WebP, 1 to 100 (default: 100)', wholeNumber(1, 100))
    .option('--save-latents <file.safetensors>', 'the final latents, before the autoencoder')
    .option('--quiet', 'no progress, no report: file names alone, and a seed that was drawn');
  return deviceOptions(command).addOption(weightsOption()).action(run);
}

async function run(flags: GenerateFlags): Promise<void> {
  if (flags.output && !formatOf(flags.output))
    throw new InvalidArgumentError(
      `Expected a file name ending in .png, .jpg or .webp for --output but received ${flags.output}`,
    );
  await checkFolder('--output', flags.output);
  await checkFolder('--save-latents', flags.saveLatents);
  const folders = await modelFolders(
    flags.model === undefined ? [] : [flags.model, flags.refiner ?? []].flat(),
  );
  const engine = await Engine.open({
    ...openOptions(flags),
    ...{ weights: flags.weights, folders },
    adapterFiles: await adapterFiles(flags),
    controlFiles: await controlFiles(flags.control ?? []),
    decoderFiles: await decoderFiles(flags),
  });
  const stop = new AbortController();
  const interrupted = () => {
    console.error('Stopping after the step under way; Ctrl-C again ends at once');
    stop.abort();
  };
  process.once('SIGINT', interrupted);
  const bar = progressBar(flags.quiet ?? false);
  try {
    const result = await engine.generate(await requestOf(flags), {
      signal: stop.signal,
      onProgress: ({ step, total, stepMs }) => bar.step(step, total, stepMs),
    });
    bar.stop();
    await save(result, flags);
  } finally {
    bar.stop();
    process.off('SIGINT', interrupted);
    await engine.dispose();
  }
}

const formats: Record<string, ImageFormat> = {
  '.png': 'IMAGE_FORMAT_PNG',
  '.jpg': 'IMAGE_FORMAT_JPEG',
  '.jpeg': 'IMAGE_FORMAT_JPEG',
  '.webp': 'IMAGE_FORMAT_WEBP',
};

function formatOf(file: string): ImageFormat | undefined {
  return formats[parse(file).ext.toLowerCase()];
}

/** Before the work rather than after it. No folder is made: its name may be a slip. */
async function checkFolder(option: string, file: string | undefined): Promise<void> {
  if (file === undefined) return;
  const folder = dirname(file);
  if ((await stat(folder).catch(() => undefined))?.isDirectory()) return;
  throw new InvalidArgumentError(
    `Expected a file in a folder that is there for ${option} but received ${file}: there is no folder ${folder}`,
  );
}

/** Adapters that are named by their files. */
async function adapterFiles({ lora = [] }: GenerateFlags): Promise<Map<string, string>> {
  const files = await Promise.all(
    lora.map(async ({ lora }) => {
      const info = await stat(lora).catch(() => undefined);
      if (info?.isFile()) return [lora];
      // What names a place is no name.
      if (info?.isDirectory() || lora.includes('/'))
        throw noFile('--lora', 'a name or a file', lora, info ? 'EISDIR' : 'ENOENT');
      return [];
    }),
  );
  return new Map(files.flat().map((file) => [file, file]));
}

/** An AutoencoderTiny that is named by its folder. */
async function decoderFiles({ decoder = '' }: GenerateFlags): Promise<Map<string, string>> {
  const isFolder = (await stat(decoder).catch(() => undefined))?.isDirectory() ?? false;
  return new Map(isFolder ? [[basename(decoder), resolve(decoder)]] : []);
}

async function requestOf(flags: GenerateFlags): Promise<ImageRequestInput> {
  return {
    prompt: flags.prompt,
    negativePrompt: flags.negative,
    promptSyntax: flags.promptSyntax,
    width: flags.size?.width,
    height: flags.size?.height,
    sizeConditioning: sizesOf(flags),
    count: flags.count,
    seeds: flags.seed,
    steps: flags.steps,
    guidanceScale: flags.guidance,
    guidanceRescale: flags.guidanceRescale,
    sampler: flags.sampler,
    schedule: flags.schedule,
    eta: flags.eta,
    clipSkip: flags.clipSkip,
    adapters: flags.lora?.map(({ lora, scale }) => ({ name: lora, scale })),
    control: await controlUnits(flags.control ?? []),
    guessMode: flags.guessMode,
    initImage: flags.initImage && (await pictureFile('--init-image', flags.initImage)),
    strength: flags.strength,
    // A path names what lies there.
    refiner: flags.refiner && basename(flags.refiner, '.safetensors'),
    refinerStart: flags.refinerStart,
    hiresScale: flags.hires,
    hiresStrength: flags.hiresStrength,
    hiresUpscaler: flags.hiresUpscaler,
    // A path names what lies there.
    decoder: flags.decoder && basename(flags.decoder),
    mask: flags.mask && (await pictureFile('--mask', flags.mask)),
    maskBlur: flags.maskBlur,
    onlyMaskedPadding: flags.onlyMasked,
    keepUnmasked: flags.keepUnmasked,
    maskedContent: flags.maskedContent,
    format: flags.output && formatOf(flags.output),
    quality: flags.quality,
    returnLatents: flags.saveLatents !== undefined,
  };
}

/** None of the three: none at all. */
function sizesOf({ originalSize, crop, targetSize }: GenerateFlags) {
  if (!originalSize && !crop && !targetSize) return undefined;
  return {
    ...{ originalWidth: originalSize?.width, originalHeight: originalSize?.height },
    ...{ cropLeft: crop?.left, cropTop: crop?.top },
    ...{ targetWidth: targetSize?.width, targetHeight: targetSize?.height },
  };
}

async function save(
  { images, effective: p }: GenerateResult,
  { output, saveLatents, quiet, seed }: GenerateFlags,
): Promise<void> {
  const say = (line: string) => quiet || console.error(line);
  for (const [i, { file: bytes, seed: own }] of images.entries()) {
    const file = fileName(output ?? `latent-edge-${own}.png`, i, images.length);
    await writeFile(file, bytes);
    console.log(file);
  }
  if (saveLatents) {
    const [, C, h, w] = [0, ...images[0]!.latents!.shape];
    const data = new Float32Array(images.length * C! * h! * w!);
    for (const [i, { latents }] of images.entries()) data.set(latents!.data, i * latents!.data.length);
    await writeSafetensors(saveLatents, { latents: { shape: [images.length, C!, h!, w!], data } });
  }
  const guidance = `guidance ${p.guidanceScale}`;
  const hires = p.hiresScale ? ` ×${p.hiresScale}` : '';
  const schedule = p.schedule === 'default' ? '' : ` ${p.schedule}`;
  const controls = p.control.map(({ unit, evaluations }) => `, ${basename(unit.model)} ×${evaluations}`);
  const adapters = p.adapters.map(({ name, scale }) => `, ${name} ${scale}`).join('');
  say(
    `${p.model}${adapters}${controls.join('')}, ${p.width}x${p.height}${hires}, ${p.sampler}${schedule}, ${stepsText(p.steps)}, ${guidance}, seed ${p.seeds.join(',')}`,
  );
  if (quiet && seed === undefined) console.error(`seed ${p.seeds.join(',')}`);
  for (const line of p.ignored) say(`ignored: ${line}`);
  for (const line of p.notes) say(`note: ${line}`);
}

/** `a.png` → `a-2.png` for the second of several; `%d` in the name stands for the number. */
export function fileName(pattern: string, index: number, count: number): string {
  if (pattern.includes('%d')) return pattern.replaceAll('%d', String(index + 1));
  if (count === 1) return pattern;
  return `${pattern.slice(0, -parse(pattern).ext.length)}-${index + 1}${parse(pattern).ext}`;
}

/** On standard error, where that is a terminal. */
function progressBar(quiet: boolean) {
  if (quiet || !process.stderr.isTTY) return { step: () => {}, stop: () => {} };
  const format = '{bar} {value}/{total} steps | {rate} steps/s | {left} left';
  const bar = new SingleBar({
    format,
    stream: process.stderr,
    barsize: 30,
    clearOnComplete: true,
    hideCursor: true,
  });
  let meanMs = 0;
  const loading = 'Loading the model …';
  process.stderr.write(loading);
  const clear = () => process.stderr.write(`\r${' '.repeat(loading.length)}\r`);
  return {
    step(step: number, total: number, stepMs: number) {
      meanMs = step === 1 ? stepMs : 0.7 * meanMs + 0.3 * stepMs;
      const left = `${Math.ceil((meanMs * (total - step)) / 1000)} s`;
      const payload = { rate: (1000 / meanMs).toFixed(2), left };
      if (step === 1) {
        clear();
        bar.start(total, 0, payload);
      }
      bar.update(step, payload);
    },
    stop: () => {
      if (meanMs === 0) clear();
      bar.stop();
    },
  };
}
