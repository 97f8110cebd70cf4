import { join } from 'node:path';
import { readJson } from '../../checkpoints/json.ts';
import { openModel } from '../../checkpoints/model.ts';
import { planContext, planUNet, planUnconditionalUNet } from '../../models/components.ts';
import type { UNetConfig } from '../../models/unet-config.ts';
import type { NativeTensor } from '../../native.ts';
import {
  evaluate,
  floats,
  isPart,
  type Module,
  once,
  openOne,
  pixels,
  type Tensors,
  tensor,
  timesteps,
  withWeights,
} from './run.ts';

/**
 * sample [B,C,h,w], timestep [B] or one number → sample [B,C,h,w]. A U-Net with a context also takes
 * encoder_hidden_states [B,T,D]; that of Stable Diffusion XL text_embeds [B,P] and time_ids [B,6]; one for inpainting
 * has 9 channels of sample: latents, mask, latents of the masked image.
 */
export const unet: Module = async (device, path, inputs) =>
  (await unetClass(path)) === 'UNet2DModel'
    ? unconditionalUNet(device, path, inputs)
    : conditionedUNet(device, path, inputs);

async function unetClass(path: string): Promise<unknown> {
  if (!(await isPart(path))) return (await openModel(path)).components.get('unet');
  return ((await readJson(join(path, 'config.json'))) as { _class_name?: unknown } | null)?._class_name;
}

const unconditionalUNet: Module = async (device, path, inputs) => {
  const unet = await openOne(path, 'unconditional_unet');
  const { data, ...shape } = pixels(inputs, 'sample', unet.config.in_channels);
  const values = { sample: data, timestep: timesteps(inputs, shape.batch) };
  return evaluate(device, unet.sources, planUnconditionalUNet({ unet }, shape), values);
};

const conditionedUNet: Module = async (device, path, inputs) => {
  const unet = await openOne(path, 'unet');
  const { data: sample, ...shape } = pixels(inputs, 'sample', unet.config.in_channels);
  const timestep = timesteps(inputs, shape.batch);
  const text = tensor(inputs, 'encoder_hidden_states', [shape.batch, 'T', unet.config.cross_attention_dim]);
  const tokens = text.shape[1]!;
  const added = addedInputs(inputs, unet.config, shape.batch);
  return withWeights(device, unet.sources, async (weights) => {
    const plan = planContext({ unet }, { batch: shape.batch, tokens, timeIds: added?.timeIds });
    const keep = plan.outputs.map(({ name }) => name);
    const given = { encoder_hidden_states: floats(text), ...added?.values };
    const context = await once(device, weights, plan, given, keep);
    try {
      const step = planUNet({ unet }, { ...shape, tokens });
      const out = await once(device, weights, step, { sample, timestep, ...context });
      return new Map([['sample', { shape: step.outputs[0]!.shape, data: out.sample as Float32Array }]]);
    } finally {
      for (const kept of Object.values(context)) (kept as NativeTensor).dispose();
    }
  });
};

/** Of Stable Diffusion XL: the pooled text, and sizes and crop. */
export function addedInputs(inputs: Tensors, { added }: UNetConfig, batch: number) {
  if (!added) return undefined;
  const ids = tensor(inputs, 'time_ids', [batch, 'sizes']);
  const timeIds = ids.shape[1]!;
  const width = added.features - timeIds * added.sizeFeatures;
  if (width <= 0)
    throw new Error(
      `Expected fewer than ${added.features / added.sizeFeatures} numbers of each image in time_ids but received ${timeIds}`,
    );
  const pooled = tensor(inputs, 'text_embeds', [batch, width]);
  return { timeIds, values: { text_embeds: floats(pooled), time_ids: floats(ids) } };
}
