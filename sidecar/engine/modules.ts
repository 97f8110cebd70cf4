import { openModel } from '../checkpoints/model.ts';
import type { HostTensor } from '../checkpoints/safetensors.ts';
import type { Plan } from '../graph/plan.ts';
import { type ClipTextConfig, pooledPositions } from '../models/clip.ts';
import {
  openComponent,
  planContext,
  planTextEncoder,
  planUNet,
  planVaeDecode,
  planVaeEncode,
} from '../models/components.ts';
import type { InputValue, NativeDevice, NativeTensor, NativeWeights } from '../native.ts';

export type Tensors = Map<string, HostTensor>;

/** Runs one component of a model folder: named tensors in, named tensors out, [B,C,H,W] or [B,T,C]. */
export type Module = (device: NativeDevice, dir: string, inputs: Tensors) => Promise<Tensors>;

/** What `latent-edge module` can run, by the name of the component. */
export const modules: Record<string, Module> = {
  text_encoder: textEncoder,
  unet,
  'vae.encode': vaeEncode,
  'vae.decode': vaeDecode,
};

/** input_ids [B,T] → last_hidden_state, penultimate [B,T,C], pooler_output [B,C] */
async function textEncoder(device: NativeDevice, dir: string, inputs: Tensors): Promise<Tensors> {
  const text_encoder = await openComponent(await openModel(dir), 'text_encoder');
  const { config } = text_encoder;
  const input = tensor(inputs, 'input_ids', ['B', 'T']);
  const [batch, tokens] = input.shape as [number, number];
  if (tokens > config.max_position_embeddings)
    throw new Error(
      `Expected at most ${config.max_position_embeddings} tokens in input_ids but received ${tokens}`,
    );
  const ids = Int32Array.from(input.data);
  const odd = input.data.find((id) => !Number.isInteger(id) || id < 0 || id >= config.vocab_size);
  if (odd !== undefined)
    throw new Error(`Expected token ids from 0 to ${config.vocab_size - 1} in input_ids but received ${odd}`);
  const out = await withWeights(device, text_encoder.sources, (weights) =>
    once(device, weights, planTextEncoder({ text_encoder }, { batch, tokens }), { input_ids: ids }),
  );
  const hidden = [batch, tokens, config.hidden_size];
  const last = out.last_hidden_state as Float32Array;
  return new Map([
    ['last_hidden_state', { shape: hidden, data: last }],
    ['penultimate', { shape: hidden, data: out.penultimate as Float32Array }],
    ['pooler_output', { shape: [batch, config.hidden_size], data: pooled(config, ids, tokens, last) }],
  ]);
}

/** Each sequence's hidden state where its text ends: [B,T,C] → [B,C]. */
function pooled(config: ClipTextConfig, ids: Int32Array, tokens: number, hidden: Float32Array): Float32Array {
  const C = config.hidden_size;
  const positions = pooledPositions(config, ids, tokens);
  const out = new Float32Array(positions.length * C);
  for (const [b, position] of positions.entries()) {
    const from = (b * tokens + position) * C;
    out.set(hidden.subarray(from, from + C), b * C);
  }
  return out;
}

/** sample [B,C,h,w], timestep [B] or one number, encoder_hidden_states [B,T,D] → sample [B,C,h,w] */
async function unet(device: NativeDevice, dir: string, inputs: Tensors): Promise<Tensors> {
  const unet = await openComponent(await openModel(dir), 'unet');
  const sample = tensor(inputs, 'sample', ['B', unet.config.in_channels, 'h', 'w']);
  const [batch, , height, width] = sample.shape as [number, number, number, number];
  const text = tensor(inputs, 'encoder_hidden_states', [batch, 'T', unet.config.cross_attention_dim]);
  const tokens = text.shape[1]!;
  const times = inputs.get('timestep')?.data ?? missing(inputs, 'timestep');
  if (times.length !== batch && times.length !== 1)
    throw new Error(`Expected ${batch} numbers or one for timestep but received ${times.length}`);
  const timestep = Float32Array.from({ length: batch }, (_, i) => times[times.length === 1 ? 0 : i]!);
  const data = await withWeights(device, unet.sources, async (weights) => {
    const plan = planContext({ unet }, { batch, tokens });
    const keep = plan.outputs.map(({ name }) => name);
    const context = await once(device, weights, plan, { encoder_hidden_states: floats(text) }, keep);
    try {
      const shape = { batch, height, width, tokens };
      const values = { sample: floats(sample), timestep, ...context };
      return (await once(device, weights, planUNet({ unet }, shape), values)).sample as Float32Array;
    } finally {
      for (const kv of Object.values(context)) (kv as NativeTensor).dispose();
    }
  });
  return new Map([['sample', { shape: [batch, unet.config.out_channels, height, width], data }]]);
}

/** image [B,3,H,W], in −1…1 → mean, logvar [B,C,h,w] of the posterior; logvar clamped to −30…20 as the reference does */
async function vaeEncode(device: NativeDevice, dir: string, inputs: Tensors): Promise<Tensors> {
  const vae = await openComponent(await openModel(dir), 'vae');
  const image = tensor(inputs, 'image', ['B', vae.config.in_channels, 'H', 'W']);
  const [batch, , height, width] = image.shape as [number, number, number, number];
  const plan = planVaeEncode({ vae }, { batch, height, width });
  const out = await withWeights(device, vae.sources, (weights) =>
    once(device, weights, plan, { image: floats(image) }),
  );
  const shape = (name: string) => plan.outputs.find((output) => output.name === name)!.shape;
  const logvar = (out.logvar as Float32Array).map((v) => Math.min(20, Math.max(-30, v)));
  return new Map([
    ['mean', { shape: shape('mean'), data: out.mean as Float32Array }],
    ['logvar', { shape: shape('logvar'), data: logvar }],
  ]);
}

/** latents [B,C,h,w], without any scaling → image [B,3,H,W], about −1…1 */
async function vaeDecode(device: NativeDevice, dir: string, inputs: Tensors): Promise<Tensors> {
  const vae = await openComponent(await openModel(dir), 'vae');
  const latents = tensor(inputs, 'latents', ['B', vae.config.latent_channels, 'h', 'w']);
  const [batch, , height, width] = latents.shape as [number, number, number, number];
  const plan = planVaeDecode({ vae }, { batch, height, width });
  const out = await withWeights(device, vae.sources, (weights) =>
    once(device, weights, plan, { latents: floats(latents) }),
  );
  return new Map([['image', { shape: plan.outputs[0]!.shape, data: out.image as Float32Array }]]);
}

async function withWeights<T>(
  device: NativeDevice,
  sources: Parameters<NativeDevice['loadWeights']>[0],
  use: (weights: NativeWeights) => Promise<T>,
): Promise<T> {
  const weights = await device.loadWeights(sources);
  try {
    return await use(weights);
  } finally {
    await weights.dispose();
  }
}

async function once(
  device: NativeDevice,
  weights: NativeWeights,
  plan: Plan,
  inputs: Record<string, InputValue>,
  keep?: string[],
) {
  const program = await device.compile(plan, weights);
  try {
    return await program.run(inputs, { keep });
  } finally {
    await program.dispose();
  }
}

/** The tensor of that name; numbers in `shape` are sizes it must have, letters stand for any. */
function tensor(inputs: Tensors, name: string, shape: (string | number)[]): HostTensor {
  const found = inputs.get(name) ?? missing(inputs, name);
  const fits =
    found.shape.length === shape.length &&
    found.shape.every((n, i) => n > 0 && (typeof shape[i] === 'string' || n === shape[i]));
  if (!fits)
    throw new Error(`Expected [${shape.join(', ')}] for ${name} but received [${found.shape.join(', ')}]`);
  return found;
}

function missing(inputs: Tensors, name: string): never {
  throw new Error(`Expected a tensor ${name} but received ${[...inputs.keys()].join(', ') || 'none'}`);
}

function floats({ data }: HostTensor): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}
