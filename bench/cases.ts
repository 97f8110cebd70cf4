import { join } from 'node:path';
import { openFolder } from '../sidecar/checkpoints/folder.ts';
import type { WeightStorage } from '../sidecar/checkpoints/weights.ts';
import type { Plan } from '../sidecar/graph/plan.ts';
import {
  openComponent,
  openControlNet,
  planContext,
  planControlContext,
  planControlNet,
  planHint,
  planTextEncoder,
  planUNet,
  planVaeDecode,
} from '../sidecar/models/components.ts';
import { residualCount } from '../sidecar/models/controlnet-config.ts';
import type { InputValue, NativeDevice, NativeWeights } from '../sidecar/native.ts';
import { TorchGenerator } from '../sidecar/random/torch.ts';

export interface CaseOptions {
  /** Pixels, width and height. */
  size: number;
  /** Of the U-Net and of the text encoder: 2 is one image with guidance. */
  batch: number;
  /** How matrices are kept in memory. */
  weights?: WeightStorage;
}

/** What is timed: one plan with its inputs. */
export interface Prepared {
  name: string;
  weights: NativeWeights;
  plan: Plan;
  inputs: Record<string, InputValue>;
  /** Outputs that stay on the device; default: none. */
  keep?: string[];
}

type Prepare = (device: NativeDevice, model: string, options: CaseOptions) => Promise<Prepared>;

const TOKENS = 77;
const randn = (n: number) => new TorchGenerator(0).randn(n);

/** One U-Net evaluation. The keys and values of the text are made before, as in a request. */
const unet: Prepare = async (device, model, { size, batch, weights: kept }) => {
  const part = await openComponent(await openFolder(model), 'unet', { weights: kept });
  const weights = await device.loadWeights(part.sources);
  const plan = planContext({ unet: part }, { batch, tokens: TOKENS });
  const context = await device.compile(plan, weights);
  const texts = randn(batch * TOKENS * part.config.cross_attention_dim);
  const keep = plan.outputs.map(({ name }) => name);
  const kv = await context.run({ encoder_hidden_states: texts }, { keep });
  await context.dispose();
  const side = size / 8;
  return {
    name: `unet-b${batch}`,
    weights,
    plan: planUNet({ unet: part }, { batch, height: side, width: side, tokens: TOKENS }),
    inputs: {
      ...kv,
      sample: randn(batch * part.config.in_channels * side * side),
      timestep: new Float32Array(batch).fill(501),
    },
  };
};

/** One image's latents to pixels. */
const vaeDecode: Prepare = async (device, model, { size }) => {
  const part = await openComponent(await openFolder(model), 'vae');
  const side = size / 8;
  return {
    name: `vae-decode-${size}`,
    weights: await device.loadWeights(part.sources),
    plan: planVaeDecode({ vae: part }, { batch: 1, height: side, width: side }),
    inputs: { latents: randn(part.config.latent_channels * side * side) },
  };
};

/** Two are the prompt and the negative prompt. */
const text: Prepare = async (device, model, { batch, weights }) => {
  const part = await openComponent(await openFolder(model), 'text_encoder', { weights });
  const shape = { batch, tokens: TOKENS };
  const ids = Int32Array.from(
    { length: batch * TOKENS },
    (_, i) => (i * 2654435761) % part.config.vocab_size,
  );
  return {
    name: `text-b${batch}`,
    weights: await device.loadWeights(part.sources),
    plan: planTextEncoder({ text_encoder: part }, shape),
    inputs: { input_ids: ids },
  };
};

/** The ControlNet of the folder `controlnet` in the model's, and what of its inputs is made once per request. */
async function control(device: NativeDevice, model: string, options: CaseOptions) {
  const { batch, size } = options;
  const net = await openControlNet(join(model, 'controlnet'), { weights: options.weights });
  const { config } = net;
  const weights = await device.loadWeights(net.sources);
  const once = async (plan: Plan, inputs: Record<string, InputValue>) => {
    const program = await device.compile(plan, weights);
    const outputs = await program.run(inputs, { keep: plan.outputs.map(({ name }) => name) });
    await program.dispose();
    return outputs;
  };
  const controlnet = { controlnet: net };
  const hint = await once(planHint(controlnet, { batch, height: size, width: size }), {
    controlnet_cond: randn(batch * config.conditioning_channels * size * size),
  });
  const context = await once(planControlContext(controlnet, { batch, tokens: TOKENS }), {
    encoder_hidden_states: randn(batch * TOKENS * config.cross_attention_dim),
  });
  return { net, weights, inputs: { ...hint, ...context } };
}

/**
 * One ControlNet evaluation, its residuals as outputs that stay on the device: nothing of them comes home in a request,
 * where it is one program with the U-Net.
 */
const controlnet: Prepare = async (device, model, options) => {
  const { net, weights, inputs } = await control(device, model, options);
  const { batch, size } = options;
  const side = size / 8;
  const plan = planControlNet({ controlnet: net }, { batch, height: side, width: side, tokens: TOKENS });
  return {
    ...{ name: `controlnet-b${batch}`, weights, plan, keep: plan.outputs.map(({ name }) => name) },
    inputs: {
      ...inputs,
      scales: new Float32Array(residualCount(net.config) * batch).fill(1),
      sample: randn(batch * net.config.in_channels * side * side),
      timestep: new Float32Array(batch).fill(501),
    },
  };
};

/** A U-Net's evaluation with the ControlNet. */
const unetAndControl: Prepare = async (device, model, options) => {
  const { batch, size } = options;
  const alone = await unet(device, model, options);
  const part = await openComponent(await openFolder(model), 'unet');
  const { net, weights, inputs } = await control(device, model, options);
  const side = size / 8;
  return {
    name: `unet-control-b${batch}`,
    weights: await device.loadWeights([], { base: alone.weights, under: { 'control.0.': weights } }),
    plan: planUNet({ unet: part }, { batch, height: side, width: side, tokens: TOKENS }, [net]),
    inputs: {
      ...alone.inputs,
      ...Object.fromEntries(Object.entries(inputs).map(([name, value]) => [`control.0.${name}`, value])),
      'control.0.scales': new Float32Array(residualCount(net.config) * batch).fill(1),
    },
  };
};

/** By the names that bench/torch_reference.py has for them, but for the one with a ControlNet. */
export const cases: Record<string, Prepare> = {
  unet,
  'vae-decode': vaeDecode,
  text,
  controlnet,
  'unet+control': unetAndControl,
};
