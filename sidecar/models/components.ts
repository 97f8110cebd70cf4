import { join } from 'node:path';
import type { z } from 'zod';
import { CheckpointError } from '../checkpoints/error.ts';
import {
  expectFolder,
  type FolderOptions,
  type ModelFolder,
  openFolder,
  readJson,
} from '../checkpoints/folder.ts';
import type { Part } from '../checkpoints/keys.ts';
import { partFolder } from '../checkpoints/links.ts';
import { checkWeights, weightSources } from '../checkpoints/weights.ts';
import type { Graph } from '../graph/builder.ts';
import type { Plan } from '../graph/plan.ts';
import { plan } from '../graph/planner.ts';
import type { WeightSource } from '../native.ts';
import { type ClipTextConfig, clipTextConfig, type TextShape, traceTextEncoder } from './clip.ts';
import { parseConfig } from './config.ts';
import { traceContext, traceUNet, type UNetShape } from './unet.ts';
import { type UNetConfig, unetConfig } from './unet-config.ts';
import { traceVaeDecode, traceVaeEncode, type VaeConfig, type VaeShape, vaeConfig, vaeScale } from './vae.ts';

/** A part of a checkpoint: its config, and where its tensors are, all of them and no others. */
export interface Component<Config> {
  dir: string;
  config: Config;
  sources: WeightSource[];
  parameters: number;
}

/** A text-to-image checkpoint, ready to be planned for any size. Only configs and headers have been read. */
export interface Checkpoint {
  folder: ModelFolder;
  family: Family;
  text_encoder: Component<ClipTextConfig>;
  unet: Component<UNetConfig>;
  vae: Component<VaeConfig>;
}

interface PartKind<Schema extends z.ZodType> {
  classes: string[];
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
  unet: kind({
    classes: ['UNet2DConditionModel', 'FlaxUNet2DConditionModel'],
    schema: unetConfig,
    graphs: (config) => {
      const size = 2 ** config.block_out_channels.length;
      return [
        traceUNet(config, { batch: 1, height: size, width: size, tokens: 1 }),
        traceContext(config, { batch: 1, tokens: 1 }),
      ];
    },
  }),
  vae: kind({
    classes: ['AutoencoderKL', 'FlaxAutoencoderKL'],
    schema: vaeConfig,
    graphs: (config) => {
      const size = vaeScale(config);
      return [
        traceVaeEncode(config, { batch: 1, height: size, width: size }),
        traceVaeDecode(config, { batch: 1, height: 1, width: 1 }),
      ];
    },
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
  options: FolderOptions = {},
): Promise<Component<ConfigOf<P>>> {
  const { classes, schema, graphs } = parts[part] as unknown as PartKind<z.ZodType<ConfigOf<P>>>;
  const dir = await partFolder(folder.dir, part);
  const className = folder.components.get(part);
  if (!className || !classes.includes(className)) {
    const file = join(folder.dir, 'model_index.json');
    throw new CheckpointError(
      `Expected ${classes[0]} for ${part} but received ${className ?? 'none'}, in ${file}`,
      { file },
    );
  }
  await expectFolder(dir);
  const file = join(dir, 'config.json');
  const config = parseConfig(schema, await readJson(file), file);
  const sources = await weightSources(dir, part, options);
  const params = new Map(trace(file, () => graphs(config)).flatMap((graph) => [...graph.params]));
  checkWeights(params, sources, dir);
  const parameters = sources.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return { dir, config, sources, parameters };
}

/**
 * Opens a text-to-image checkpoint in diffusers layout.
 * @throws CheckpointError, also when the parts do not fit each other.
 */
export async function openCheckpoint(dir: string, options: FolderOptions = {}): Promise<Checkpoint> {
  const folder = await openFolder(dir);
  const [text_encoder, unet, vae] = await Promise.all([
    openComponent(folder, 'text_encoder', options),
    openComponent(folder, 'unet', options),
    openComponent(folder, 'vae', options),
  ]);
  const fits = (what: string, expected: number, received: number) => {
    if (expected !== received)
      throw new CheckpointError(`Expected ${expected} for ${what} but received ${received}, in ${dir}`, {
        file: dir,
      });
  };
  fits("the text encoder's hidden_size", unet.config.cross_attention_dim, text_encoder.config.hidden_size);
  fits("the autoencoder's latent_channels", unet.config.out_channels, vae.config.latent_channels);
  return { folder, family: familyOf(unet.config), text_encoder, unet, vae };
}

/** Width and height in pixels that the checkpoint was trained at. */
export function defaultSize({ unet, vae }: Checkpoint): { width: number; height: number } {
  const [height, width] = [unet.config.sample_size ?? 64].flat() as [number, number?];
  const scale = vaeScale(vae.config);
  return { width: (width ?? height) * scale, height: height * scale };
}

export type Family = 'sd1' | 'sd2' | 'sdxl';

/** The lineage of a U-Net, for listings: by its config alone, parsed or raw. */
export function familyOf(unet: { addition_embed_type?: unknown; use_linear_projection?: unknown }): Family {
  if (unet.addition_embed_type === 'text_time') return 'sdxl';
  return unet.use_linear_projection === true ? 'sd2' : 'sd1';
}

// Plans of a checkpoint's parts, as the engine and `module` run them. Borders are float32, [B,C,H,W] or [B,T,C].

/** input_ids i32 [B,T] → last_hidden_state [B,T,C], and penultimate [B,T,C] without clipSkip. */
export function planTextEncoder(checkpoint: Pick<Checkpoint, 'text_encoder'>, shape: TextShape): Plan {
  return plan(traceTextEncoder(checkpoint.text_encoder.config, shape));
}

/** encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C], by the U-Net's parameters. */
export function planContext(
  checkpoint: Pick<Checkpoint, 'unet'>,
  shape: { batch: number; tokens: number },
): Plan {
  return plan(traceContext(checkpoint.unet.config, shape));
}

/** sample [B,C,h,w], timestep [B], kv.0, kv.1, … → sample [B,C,h,w]. */
export function planUNet(checkpoint: Pick<Checkpoint, 'unet'>, shape: UNetShape): Plan {
  return plan(traceUNet(checkpoint.unet.config, shape));
}

/** image [B,3,H,W] → mean, logvar [B,C,h,w]. */
export function planVaeEncode(checkpoint: Pick<Checkpoint, 'vae'>, shape: VaeShape): Plan {
  return plan(traceVaeEncode(checkpoint.vae.config, shape));
}

/** latents [B,C,h,w] → image [B,3,H,W]. */
export function planVaeDecode(checkpoint: Pick<Checkpoint, 'vae'>, shape: VaeShape): Plan {
  return plan(traceVaeDecode(checkpoint.vae.config, shape));
}

/** A config can be sound field by field and still describe no model: 3 heads of 32 channels. */
function trace<T>(file: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new CheckpointError(`${(error as Error).message}, as ${file} describes it`, { file, cause: error });
  }
}
