import { basename } from 'node:path';
import { CheckpointError } from '../error.ts';
import { readSafetensors } from '../safetensors.ts';
import { seemsToBe } from './kinds.ts';
import type { FilePart } from './part.ts';
import { Tensors, weight } from './tensors.ts';
import { unetName } from './unet.ts';

// A ControlNet in one file: named by its original code (github.com/lllyasviel/ControlNet, cldm/cldm.py), alone or with
// the model that it was trained beside, or by diffusers.

const HINT = 'controlnet_cond_embedding';

/**
 * The models' name of a tensor of the original code; the key itself where it is none of a ControlNet.
 * @param layers resnets of a level.
 * @param hints number of the last layer of the hint's embedding.
 */
export function controlNetTensorName(key: string, layers: number, hints: number): string {
  const [, n, leaf] = /^zero_convs\.(\d+)\.0(\..+)$/.exec(key) ?? [];
  if (n) return `controlnet_down_blocks.${n}${leaf}`;
  const [, out] = /^middle_block_out\.0(\..+)$/.exec(key) ?? [];
  if (out) return `controlnet_mid_block${out}`;
  const [, layer, rest] = /^input_hint_block\.(\d+)(\..+)$/.exec(key) ?? [];
  if (!layer) return unetName(key, layers);
  // Every second layer is an activation.
  const block = Number(layer) === 0 ? 'conv_in' : Number(layer) === hints ? 'conv_out' : undefined;
  return `${HINT}.${block ?? `blocks.${Number(layer) / 2 - 1}`}${rest}`;
}

/**
 * Reads the header of a ControlNet in one file; what its config would say follows from names and shapes.
 * @throws CheckpointError saying what the file seems to be instead.
 */
export async function openControlNetFile(path: string): Promise<FilePart> {
  const { tensors } = await readSafetensors(path);
  const file = new Tensors(path, new Map(tensors.map((entry) => [entry.name, entry])));
  refuseRelatives(file);
  const own = controlTensors(file);
  if (!own) throw notAControlNet(file);
  const isOriginal = own.has('time_embed.0.weight');
  const named = isOriginal ? renamed(own) : own;
  return {
    className: 'ControlNetModel',
    config: configOf(named),
    sources: named.keys().map((name) => weight(named.get(name)!, path, name)),
  };
}

/** Whether a file's tensors are a ControlNet's, alone or beside a model. */
export function hasControlNet(file: Tensors): boolean {
  return controlTensors(file) !== undefined;
}

/** Those of the ControlNet, without a prefix. */
function controlTensors(file: Tensors): Tensors | undefined {
  const isOne = (tensors: Tensors) =>
    (tensors.has('input_hint_block.0.weight') && tensors.has('time_embed.0.weight')) ||
    (tensors.has(`${HINT}.conv_in.weight`) && tensors.has('conv_in.weight'));
  return ['control_model.', ''].map((prefix) => file.under(prefix)).find(isOne);
}

function renamed(tensors: Tensors): Tensors {
  const end = Array.from({ length: tensors.count('input_blocks') }, (_, i) => i).find((i) =>
    tensors.has(`input_blocks.${i}.0.op.weight`),
  );
  const layers = (end ?? tensors.count('input_blocks')) - 1;
  const hints = tensors.count('input_hint_block') - 1;
  const entries = tensors.keys().map((key) => {
    const name = controlNetTensorName(key, layers, hints);
    return [name, tensors.get(key)!] as const;
  });
  return new Tensors(tensors.file, new Map(entries), tensors.prefix);
}

/** What config.json would hold, by the names of the models. */
function configOf(tensors: Tensors): Record<string, unknown> {
  const levels = Array.from({ length: tensors.count('down_blocks') }, (_, i) => {
    const layers = tensors.count(`down_blocks.${i}.resnets`);
    return {
      layers,
      channels: tensors.shape(`down_blocks.${i}.resnets.0.conv1.weight`, 4)[0]!,
      transformers: Array.from({ length: layers }, (_, j) =>
        tensors.count(`down_blocks.${i}.attentions.${j}.transformer_blocks`),
      ),
    };
  });
  if (levels.length === 0 || levels.some(({ layers }) => layers === 0))
    throw new CheckpointError(`Expected down_blocks with resnets in ${tensors.file} but found none`, {
      file: tensors.file,
    });
  const channels = levels.map((level) => level.channels);
  const middle = tensors.count('mid_block.attentions.0.transformer_blocks');
  const attends = ({ transformers }: { transformers: number[] }) => transformers.some((n) => n > 0);
  const context = tensors.find(/\.attn2\.to_k\.weight$/);
  const projection = tensors.find(/\.proj_in\.weight$/);
  const isLinear = projection !== undefined && tensors.get(projection)!.shape.length === 2;
  const isXL = tensors.has('add_embedding.linear_1.weight');
  return {
    _class_name: 'ControlNetModel',
    in_channels: tensors.shape('conv_in.weight', 4)[1]!,
    ...hintConfig(tensors),
    block_out_channels: channels,
    layers_per_block: levels.map(({ layers }) => layers),
    down_block_types: levels.map((level) => (attends(level) ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    mid_block_type: middle > 0 ? 'UNetMidBlock2DCrossAttn' : 'UNetMidBlock2D',
    // Where there is no attention the number means nothing; the last level's is also the middle block's.
    transformer_layers_per_block: levels.map((level, i) =>
      attends(level) ? level.transformers : i === levels.length - 1 ? Math.max(1, middle) : 1,
    ),
    ...(context && { cross_attention_dim: tensors.shape(context, 2)[1]! }),
    // By lineage: 8 heads everywhere, later heads of 64 channels.
    attention_head_dim: isLinear || isXL ? channels.map((n) => Math.max(1, Math.floor(n / 64))) : 8,
    use_linear_projection: isLinear,
    ...(isXL && {
      addition_embed_type: 'text_time',
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: tensors.shape('add_embedding.linear_1.weight', 2)[1]!,
    }),
  };
}

function hintConfig(tensors: Tensors) {
  const [features, channels] = tensors.shape(`${HINT}.conv_in.weight`, 4);
  const halved = Array.from(
    { length: Math.floor(tensors.count(`${HINT}.blocks`) / 2) },
    (_, i) => tensors.shape(`${HINT}.blocks.${2 * i + 1}.weight`, 4)[0]!,
  );
  return {
    conditioning_channels: channels!,
    conditioning_embedding_out_channels: [features!, ...halved],
  };
}

function refuseRelatives(file: Tensors): void {
  const relatives: [string, boolean][] = [
    [
      'a control LoRA',
      file.has('lora_controlnet') || file.find(/^(input|middle)_block.*\.up$/) !== undefined,
    ],
    ['a ControlNet-LLLite', file.find(/^lllite_/) !== undefined],
    ['a ControlNet as the difference to its base', file.has('difference')],
    ['a ControlNet union', file.find(/^(control_add_embedding|task_embedding|control_type)/) !== undefined],
    ['a video ControlNet', file.find(/\bmotion_modules\./) !== undefined],
    // No tensor says so; the published is control_v11e_sd15_shuffle.
    [
      'a ControlNet whose residuals are averaged over the picture',
      hasControlNet(file) && /shuffle/i.test(basename(file.file)),
    ],
  ];
  const relative = relatives.find(([, is]) => is)?.[0];
  if (relative)
    throw new CheckpointError(
      `Expected a ControlNet but ${file.file} seems to be ${relative}, which is not supported`,
      { file: file.file },
    );
}

function notAControlNet(file: Tensors): CheckpointError {
  const kind = file.has('model.diffusion_model.input_blocks.0.0.weight')
    ? 'a checkpoint of Stable Diffusion'
    : seemsToBe(file);
  return new CheckpointError(
    `Expected a ControlNet but ${file.file} ${kind ? `seems to be ${kind}` : 'has none'}`,
    { file: file.file },
  );
}
