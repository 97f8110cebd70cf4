import {
  openControlNet,
  planContext,
  planControlContext,
  planControlNet,
  planHint,
  planUNet,
} from '../../models/components.ts';
import { checkControlNet, hintScale, residualScales } from '../../models/controlnet-config.ts';
import type { InputValue, NativeDevice, NativeTensor, NativeWeights } from '../../native.ts';
import {
  floats,
  type Module,
  type ModuleOptions,
  once,
  openOne,
  pixels,
  type Tensors,
  tensor,
  timesteps,
  withWeights,
} from './run.ts';
import { addedInputs } from './unet.ts';

/**
 * sample [B,C,h,w], timestep [B] or one number, encoder_hidden_states [B,T,D], controlnet_cond [B,3,8h,8w] in 0…1, of
 * Stable Diffusion XL text_embeds [B,P] and time_ids [B,6] → the residuals down.0, down.1, …, mid.
 */
export const controlnet: Module = async (device, path, inputs, options) => {
  const given = await read(path, inputs, options);
  return withWeights(device, given.control.sources, async (weights) => {
    const kept = await requestInputs(device, weights, given);
    try {
      return await residuals(device, weights, given, kept);
    } finally {
      dispose(kept);
    }
  });
};

/** The same → the residuals, and sample [B,C,h,w], the U-Net's with them: one plan for both networks. */
export const controlnetAndUNet: Module = async (device, path, inputs, options) => {
  const given = await read(path, inputs, options);
  return withWeights(device, given.control.sources, (control) =>
    withWeights(device, given.unet.sources, async (base) => {
      const kept = await requestInputs(device, control, given);
      try {
        const out = await residuals(device, control, given, kept);
        return out.set('sample', await sample(device, { base, control }, given, kept));
      } finally {
        dispose(kept);
      }
    }),
  );
};

type Given = Awaited<ReturnType<typeof read>>;
type Kept = Record<string, Float32Array | NativeTensor>;

/** Whatever does not fit is an error here, before the device is asked for anything. */
async function read(path: string, inputs: Tensors, options: ModuleOptions = {}) {
  if (options.controlnet === undefined)
    throw new Error('Expected a folder or file for --controlnet but received nothing');
  const [unet, control] = await Promise.all([openOne(path, 'unet'), openControlNet(options.controlnet)]);
  const { config } = control;
  checkControlNet(unet.config, config, control.dir);
  const { data, ...size } = pixels(inputs, 'sample', unet.config.in_channels);
  const { batch, height, width } = size;
  const text = tensor(inputs, 'encoder_hidden_states', [batch, 'T', unet.config.cross_attention_dim]);
  const [scale, added] = [hintScale(config), addedInputs(inputs, unet.config, batch)];
  const hintShape = [batch, config.conditioning_channels, scale * height, scale * width];
  const factors = residualScales(config, options.scale ?? 1, options);
  return {
    unet,
    control,
    shape: { ...size, tokens: text.shape[1]! },
    timeIds: added?.timeIds,
    hint: floats(tensor(inputs, 'controlnet_cond', hintShape)),
    text: { encoder_hidden_states: floats(text), ...added?.values },
    sample: data,
    /** The first channels: what a ControlNet sees of an inpainting model's. */
    latents: firstChannels(data, batch, unet.config.in_channels, config.in_channels),
    timestep: timesteps(inputs, batch),
    scales: Float32Array.from({ length: factors.length * batch }, (_, i) => factors[Math.floor(i / batch)]!),
  };
}

/** hint, kv.* and add_embedding of the ControlNet. */
async function requestInputs(device: NativeDevice, weights: NativeWeights, given: Given): Promise<Kept> {
  const { control, shape, hint, timeIds } = given;
  const scale = hintScale(control.config);
  const picture = { batch: shape.batch, height: scale * shape.height, width: scale * shape.width };
  const embed = planHint({ controlnet: control }, picture);
  const embedded = await once(device, weights, embed, { controlnet_cond: hint }, ['hint']);
  try {
    const plan = planControlContext({ controlnet: control }, { ...shape, timeIds });
    return { ...embedded, ...(await context(device, weights, plan, given)) };
  } catch (error) {
    dispose(embedded);
    throw error;
  }
}

async function residuals(device: NativeDevice, weights: NativeWeights, given: Given, kept: Kept) {
  const { control, shape, latents, timestep, scales } = given;
  const plan = planControlNet({ controlnet: control }, shape);
  const out = await once(device, weights, plan, { sample: latents, timestep, scales, ...kept });
  const tensors: Tensors = new Map();
  for (const { name, shape } of plan.outputs) tensors.set(name, { shape, data: out[name] as Float32Array });
  return tensors;
}

async function sample(
  device: NativeDevice,
  { base, control }: { base: NativeWeights; control: NativeWeights },
  given: Given,
  kept: Kept,
) {
  const { unet, shape, timeIds, timestep, scales, latents } = given;
  const both = await device.loadWeights([], { base, under: { 'control.0.': control } });
  let text: Kept = {};
  try {
    text = await context(device, base, planContext({ unet }, { ...shape, timeIds }), given);
    const plan = planUNet({ unet }, shape, [given.control]);
    const values: Record<string, InputValue> = { sample: given.sample, timestep, ...text };
    for (const [name, value] of Object.entries({ ...kept, scales })) values[`control.0.${name}`] = value;
    if (given.control.config.in_channels !== unet.config.in_channels) values['control.sample'] = latents;
    const out = await once(device, both, plan, values);
    return { shape: plan.outputs[0]!.shape, data: out.sample as Float32Array };
  } finally {
    dispose(text);
    await both.dispose();
  }
}

/** A context plan's outputs; it has none where a ControlNet pays the text no attention. */
async function context(
  device: NativeDevice,
  weights: NativeWeights,
  plan: ReturnType<typeof planContext>,
  { text }: Given,
): Promise<Kept> {
  if (plan.outputs.length === 0) return {};
  const wanted = plan.inputs.map(({ name }): [string, Float32Array] => [
    name,
    text[name as keyof typeof text]!,
  ]);
  const keep = plan.outputs.map(({ name }) => name);
  return once(device, weights, plan, Object.fromEntries(wanted), keep);
}

function firstChannels(data: Float32Array, batch: number, from: number, to: number): Float32Array {
  if (from === to) return data;
  const image = data.length / batch;
  const kept = (image / from) * to;
  const all = new Float32Array(batch * kept);
  for (let i = 0; i < batch; i++) all.set(data.subarray(i * image, i * image + kept), i * kept);
  return all;
}

function dispose(kept: Kept): void {
  for (const value of Object.values(kept)) (value as NativeTensor).dispose();
}
