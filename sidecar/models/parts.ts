import type { z } from 'zod';
import { parseConfig } from '../checkpoints/config.ts';
import { readControlNet } from '../checkpoints/controlnet.ts';
import { CheckpointError } from '../checkpoints/error.ts';
import type { FolderOptions, ModelFolder } from '../checkpoints/folder.ts';
import type { Part } from '../checkpoints/keys.ts';
import { type RawPart, readPart, readPartFolder, wrongPart } from '../checkpoints/model.ts';
import { checkWeights, inEightBits, loadedBytes, type WeightStorage } from '../checkpoints/weights.ts';
import type { Graph } from '../graph/builder.ts';
import type { WeightSource } from '../native.ts';
import { clipProjectionConfig, clipTextConfig, traceTextEncoder } from './clip.ts';
import { traceControlContext, traceControlNet, traceHint } from './controlnet.ts';
import { type ControlNetConfig, controlNetConfig, hintScale } from './controlnet-config.ts';
import { taesdConfig, traceTaesdDecode, traceTaesdEncode } from './taesd.ts';
import { traceContext, traceUNet } from './unet.ts';
import { unetConfig } from './unet-config.ts';
import { traceUnconditionalUNet, unconditionalConfig } from './unet-unconditional.ts';
import { traceVaeDecode, traceVaeEncode, vaeConfig, vaeScale } from './vae.ts';
import { traceVqDecode, traceVqEncode, vqConfig, vqScale } from './vq.ts';

/** A part of a checkpoint: its config, and where its tensors are, all of them and no others. */
export interface Component<Config> {
  dir: string;
  config: Config;
  sources: WeightSource[];
  parameters: number;
  /** Of memory that they take once they are loaded. */
  bytes: number;
}

export interface ComponentOptions extends FolderOptions {
  /** Default: `file`. */
  weights?: WeightStorage | undefined;
}

interface PartKind<Schema extends z.ZodType> {
  classes: string[];
  /** Whether its weights are kept as its files have them, whatever is asked for. */
  isExact?: boolean;
  /** Its name in model_index.json, where that is another. */
  folder?: string;
  schema: Schema;
  /** Graphs that use the part's parameters, each of them at least once, at any shape. */
  graphs: (config: z.output<Schema>) => Graph[];
}

const kind = <Schema extends z.ZodType>(of: PartKind<Schema>) => of;

const parts = {
  text_encoder: kind({
    classes: ['CLIPTextModel', 'CLIPTextModelWithProjection'],
    schema: clipTextConfig,
    graphs: (config) => [traceTextEncoder(config, { batch: 1, tokens: 1 })],
  }),
  text_encoder_2: kind({
    classes: ['CLIPTextModelWithProjection'],
    schema: clipProjectionConfig,
    graphs: (config) => [traceTextEncoder(config, { batch: 1, tokens: 1 })],
  }),
  unet: kind({
    classes: ['UNet2DConditionModel', 'FlaxUNet2DConditionModel'],
    schema: unetConfig,
    graphs: (config) => {
      const size = 2 ** config.block_out_channels.length;
      return [
        traceUNet(config, { batch: 1, height: size, width: size, tokens: 1 }),
        traceContext(config, { batch: 1, tokens: 1, timeIds: 1 }),
      ];
    },
  }),
  controlnet: kind({
    classes: ['ControlNetModel'],
    schema: controlNetConfig,
    graphs: (config) => {
      const size = 2 ** config.block_out_channels.length;
      const scale = hintScale(config);
      return [
        traceHint(config, { batch: 1, height: scale, width: scale }),
        traceControlContext(config, { batch: 1, tokens: 1, timeIds: 1 }),
        traceControlNet(config, { batch: 1, height: size, width: size, tokens: 1 }),
      ];
    },
  }),
  unconditional_unet: kind({
    classes: ['UNet2DModel'],
    folder: 'unet',
    schema: unconditionalConfig,
    graphs: (config) => {
      const size = 2 ** config.block_out_channels.length;
      return [traceUnconditionalUNet(config, { batch: 1, height: size, width: size })];
    },
  }),
  vae: kind({
    classes: ['AutoencoderKL', 'FlaxAutoencoderKL'],
    isExact: true,
    schema: vaeConfig,
    graphs: (config) => {
      const size = vaeScale(config);
      return [
        traceVaeEncode(config, { batch: 1, height: size, width: size }),
        traceVaeDecode(config, { batch: 1, height: 1, width: 1 }),
      ];
    },
  }),
  vqvae: kind({
    classes: ['VQModel'],
    isExact: true,
    schema: vqConfig,
    graphs: (config) => {
      const size = vqScale(config);
      return [
        traceVqEncode(config, { batch: 1, height: size, width: size }),
        traceVqDecode(config, { batch: 1, height: 1, width: 1 }),
      ];
    },
  }),
  taesd: kind({
    classes: ['AutoencoderTiny'],
    isExact: true,
    folder: 'vae',
    schema: taesdConfig,
    graphs: (config) => [
      traceTaesdEncode(config, { batch: 1, height: 1, width: 1 }),
      traceTaesdDecode(config, { batch: 1, height: 1, width: 1 }),
    ],
  }),
};

type ConfigOf<P extends Part> = z.output<(typeof parts)[P]['schema']>;

/**
 * Opens one part of a folder: reads its config and its files' headers, and holds one against the other.
 * @throws CheckpointError naming file and field or tensor.
 */
export async function openComponent<P extends Part>(
  folder: ModelFolder,
  part: P,
  options: ComponentOptions = {},
): Promise<Component<ConfigOf<P>>> {
  const { classes, folder: name = part } = parts[part] as PartKind<z.ZodType>;
  const className = folder.components.get(name);
  if (!className || !classes.includes(className)) throw wrongPart(folder, name, classes[0]!);
  return checked(await readPart(folder, name, part, options), part, options);
}

/**
 * Opens a part that is a folder of its own, without a model_index.json: a `taesd`. Its config names its class.
 * @throws CheckpointError naming file and field or tensor.
 */
export async function openPart<P extends Part>(
  dir: string,
  part: P,
  options: ComponentOptions = {},
): Promise<Component<ConfigOf<P>>> {
  return checked(await readPartFolder(dir, part, options), part, options);
}

/**
 * Opens a ControlNet: a folder, or a single file.
 * @throws CheckpointError naming file and field or tensor.
 */
export async function openControlNet(
  path: string,
  options: ComponentOptions = {},
): Promise<Component<ControlNetConfig>> {
  return checked(await readControlNet(path), 'controlnet', options);
}

function checked<P extends Part>(
  raw: RawPart,
  part: P,
  { weights }: ComponentOptions,
): Component<ConfigOf<P>> {
  const { schema, graphs, isExact } = parts[part] as unknown as PartKind<z.ZodType<ConfigOf<P>>>;
  const { dir, configFile: file } = raw;
  const sources = weights === 'int8' && !isExact ? inEightBits(raw.sources) : raw.sources;
  const config = parseConfig(schema, raw.config, file);
  const params = new Map(trace(file, () => graphs(config)).flatMap((graph) => [...graph.params]));
  checkWeights(params, sources, dir);
  const parameters = sources.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return { dir, config, sources, parameters, bytes: loadedBytes(sources) };
}

/** A config can be sound field by field and still describe no model: 3 heads of 32 channels. */
function trace<T>(file: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new CheckpointError(`${(error as Error).message}, as ${file} describes it`, { file, cause: error });
  }
}
