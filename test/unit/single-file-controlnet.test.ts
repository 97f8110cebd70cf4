import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../sidecar/checkpoints/config.ts';
import { readControlNet } from '../../sidecar/checkpoints/controlnet.ts';
import { modelHash } from '../../sidecar/checkpoints/hash.ts';
import { controlNetTensorName } from '../../sidecar/checkpoints/single-file/controlnet.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { openControlNet, openPart } from '../../sidecar/models/components.ts';
import { controlNetConfig } from '../../sidecar/models/controlnet-config.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { type RawTensor, readRawTensors, writeTensors } from '../support/safetensors.ts';

// ControlNets in one file. The original code's keys are written down here from what diffusers' converter reads
// (convert_controlnet_checkpoint and its tables), the other way round.

const WEIGHTS = 'diffusion_pytorch_model.safetensors';
const LAYERS = 2;
const resnet: Record<string, string> = {
  norm1: 'in_layers.0',
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  norm2: 'out_layers.0',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
};
const fixed: Record<string, string> = {
  'controlnet_cond_embedding.conv_in': 'input_hint_block.0',
  'controlnet_cond_embedding.conv_out': 'input_hint_block.14',
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  conv_in: 'input_blocks.0.0',
  controlnet_mid_block: 'middle_block_out.0',
};

/** What the original code calls a tensor of diffusers'. */
function originalKey(name: string): string {
  const [stem, leaf] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.'))];
  if (fixed[stem]) return fixed[stem]! + leaf;
  const parts = stem.split('.');
  const [first, ...rest] = parts as [string, ...string[]];
  if (first === 'controlnet_down_blocks') return `zero_convs.${rest[0]}.0${leaf}`;
  if (first === 'controlnet_cond_embedding') return `input_hint_block.${2 * (Number(rest[1]) + 1)}${leaf}`;
  const inner = (kind: string, path: string[]) => (kind === 'resnets' ? resnet[path[0]!]! : path.join('.'));
  if (first === 'mid_block') {
    const [kind, i, ...path] = rest as [string, string, ...string[]];
    return `middle_block.${kind === 'attentions' ? 1 : 2 * Number(i)}.${inner(kind, path)}${leaf}`;
  }
  const [level, kind, i, ...path] = rest as [string, string, string, ...string[]];
  const block = 1 + Number(level) * (LAYERS + 1);
  if (kind === 'downsamplers') return `input_blocks.${block + LAYERS}.0.op${leaf}`;
  return `input_blocks.${block + Number(i)}.${kind === 'attentions' ? 1 : 0}.${inner(kind, path)}${leaf}`;
}

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterAll(() => rm(dir, { recursive: true }));

const forms: [string, (name: string) => string][] = [
  ['the original code', originalKey],
  ['the original code, with its prefix', (name) => `control_model.${originalKey(name)}`],
  ['diffusers', (name) => name],
];

describe.each(['tiny-controlnet-sd15-canny', 'tiny-controlnet-sdxl-canny'])('%s', (model) => {
  it.each(forms)('named by %s is what its folder is', async (_, nameOf) => {
    const folder = await fixtureModel(model);
    const tensors = Object.entries(readRawTensors(join(folder, WEIGHTS)));
    const file = join(dir, 'net.safetensors');
    writeTensors(file, Object.fromEntries(tensors.map(([name, tensor]) => [nameOf(name), tensor])));
    const own = await openPart(folder, 'controlnet');
    const raw = await readControlNet(file);
    // The tiny ones have other numbers of heads and size features than the published: no shape says either.
    const config = parseConfig(controlNetConfig, raw.config, file);
    for (const field of [
      ...(['block_out_channels', 'layers_per_block', 'attention', 'transformers'] as const),
      ...(['cross_attention_dim', 'conditioning_embedding_out_channels', 'in_channels'] as const),
    ])
      expect(config[field], field).toEqual(own.config[field]);
    expect(config.added?.features).toBe(own.config.added?.features);
    // Names, types, shapes and bytes.
    const hash = (sources: typeof raw.sources) => modelHash({ controlnet: sources });
    expect(await hash(raw.sources)).toBe(await hash(own.sources));
    // Found by its name, and no model.
    const folders = new ModelFolders([dir]);
    expect(await folders.controlNets()).toEqual([{ name: 'net', dir: file }]);
    expect(await folders.list()).toEqual([]);
  });
});

it('names every tensor back', async () => {
  for (const model of ['tiny-controlnet-sd15-canny', 'tiny-controlnet-sdxl-canny'])
    for (const name of Object.keys(readRawTensors(join(await fixtureModel(model), WEIGHTS))))
      expect(controlNetTensorName(originalKey(name), LAYERS, 14)).toBe(name);
});

const one: RawTensor = { dtype: 'F32', shape: [1], data: new Uint8Array(4) };

it.each([
  [{ lora_controlnet: one }, 'seems to be a control LoRA'],
  [{ 'lllite_unet_input_blocks_1_0.down.weight': one }, 'seems to be a ControlNet-LLLite'],
  [{ task_embedding: one }, 'seems to be a ControlNet union'],
  [{ 'body.0.in_conv.weight': one }, 'seems to be a T2I-Adapter'],
  [{ 'model.diffusion_model.input_blocks.0.0.weight': one }, 'seems to be a checkpoint of Stable Diffusion'],
  [{ x: one, y: one }, 'has none'],
])('other files are refused by what they seem to be', async (tensors, message) => {
  const file = join(dir, 'other.safetensors');
  writeTensors(file, tensors as Record<string, RawTensor>);
  await expect(openControlNet(file)).rejects.toThrow(message);
});

it('one whose residuals are averaged is known by its name alone', async () => {
  const tensors = readRawTensors(join(await fixtureModel('tiny-controlnet-sd15-canny'), WEIGHTS));
  const file = join(dir, 'control_v11e_sd15_shuffle_fp16.safetensors');
  writeTensors(file, tensors);
  await expect(openControlNet(file)).rejects.toThrow(
    'seems to be a ControlNet whose residuals are averaged over the picture, which is not supported',
  );
});
