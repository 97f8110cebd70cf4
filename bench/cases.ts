import { join } from 'node:path';
import { openFolder } from '../sidecar/checkpoints/folder.ts';
import type { Plan } from '../sidecar/graph/plan.ts';
import {
  openComponent,
  openControlNet,
  planContext,
  planControlContext,
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
  /** Of the U-Net: 2 is one image with guidance. */
  batch: number;
}

/** What is timed: one plan with its inputs. */
export interface Prepared {
  name: string;
  weights: NativeWeights;
  plan: Plan;
  inputs: Record<string, InputValue>;
}

type Prepare = (device: NativeDevice, model: string, options: CaseOptions) => Promise<Prepared>;

const TOKENS = 77;
const randn = (n: number) => new TorchGenerator(0).randn(n);

/** One U-Net evaluation. The keys and values of the text are made before, as in a request. */
const unet: Prepare = async (device, model, { size, batch }) => {
  const part = await openComponent(await openFolder(model), 'unet');
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

/** The prompt and the negative prompt. */
const text: Prepare = async (device, model) => {
  const part = await openComponent(await openFolder(model), 'text_encoder');
  const shape = { batch: 2, tokens: TOKENS };
  const ids = Int32Array.from({ length: 2 * TOKENS }, (_, i) => (i * 2654435761) % part.config.vocab_size);
  return {
    name: 'text-b2',
    weights: await device.loadWeights(part.sources),
    plan: planTextEncoder({ text_encoder: part }, shape),
    inputs: { input_ids: ids },
  };
};

/** The same U-Net evaluation with a ControlNet, that of the folder `controlnet` in the model's. */
const unetAndControl: Prepare = async (device, model, options) => {
  const { batch, size } = options;
  const alone = await unet(device, model, options);
  const [part, control] = await Promise.all([
    openComponent(await openFolder(model), 'unet'),
    openControlNet(join(model, 'controlnet')),
  ]);
  const { config } = control;
  const weights = await device.loadWeights(control.sources);
  const once = async (plan: Plan, inputs: Record<string, InputValue>) => {
    const program = await device.compile(plan, weights);
    const outputs = await program.run(inputs, { keep: plan.outputs.map(({ name }) => name) });
    await program.dispose();
    return Object.entries(outputs).map(([name, value]) => [`control.0.${name}`, value]);
  };
  const controlnet = { controlnet: control };
  const hint = await once(planHint(controlnet, { batch, height: size, width: size }), {
    controlnet_cond: randn(batch * config.conditioning_channels * size * size),
  });
  const context = await once(planControlContext(controlnet, { batch, tokens: TOKENS }), {
    encoder_hidden_states: randn(batch * TOKENS * config.cross_attention_dim),
  });
  const side = size / 8;
  return {
    name: `unet-control-b${batch}`,
    weights: await device.loadWeights([], { base: alone.weights, under: { 'control.0.': weights } }),
    plan: planUNet({ unet: part }, { batch, height: side, width: side, tokens: TOKENS }, [control]),
    inputs: {
      ...alone.inputs,
      ...Object.fromEntries([...hint, ...context]),
      'control.0.scales': new Float32Array(residualCount(config) * batch).fill(1),
    },
  };
};

/** By the names that bench/torch_reference.py has for them, but for the one with a ControlNet. */
export const cases: Record<string, Prepare> = {
  unet,
  'vae-decode': vaeDecode,
  text,
  'unet+control': unetAndControl,
};
