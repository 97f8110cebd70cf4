import { errors } from '../../errors.ts';
import { memoryFor } from '../admission/memory.ts';
import type { PlanCost } from '../admission/plan-cost.ts';
import { noWork } from '../admission/workload.ts';
import { decodingCost, encodingCost, type LatentSize } from '../autoencoder.ts';
import { join } from '../conditioning/text.ts';
import { finite } from '../finite.ts';
import type { Model } from '../model.ts';
import type { OpenModel } from '../open-model.ts';
import { type Bench, batch, checkArea, latentSide, type Needs, type Part, pixelSide } from './part.ts';
import { type Floats, readTensor, type TensorInput } from './tensor.ts';

export interface Gaussians {
  /** [N,C,h,w], scaled to about unit variance. */
  mean: Floats;
  /** Standard deviations, likewise. */
  std: Floats;
}

/** images [N,3,H,W], −1…1 → the Gaussians of their latents. */
export function encodePart(request: { model?: string; images?: TensorInput | null }): Part<Gaussians> {
  const read = (model: OpenModel) => {
    const { scale, encodes } = model.latentSpace;
    if (!encodes) throw errors.unexpected('model', 'a model that encodes pictures', model.name);
    const images = readTensor('images', request.images, [batch, 3, pixelSide(model), pixelSide(model)]);
    const [count, , height, width] = images.shape as [number, number, number, number];
    const size = { height: height / scale, width: width / scale };
    checkArea('images', count, size);
    return { ...images, count, size };
  };
  return {
    model: request.model ?? '',
    check(model) {
      const { count, size } = read(model);
      return needs(model, 'encoding', count, encodingCost(model.checkpoint, size));
    },
    async run(model, { evaluator, ticket }) {
      const { data, count, size } = read(model);
      const { autoencoder } = model;
      const encoded = [];
      for (const image of split(data, count))
        encoded.push(await evaluator.exclusive(() => autoencoder.encode(image, size), ticket));
      const of = (parts: Float32Array[]) => ({
        shape: [count, autoencoder.channels, size.height, size.width],
        data: finite(join(parts), 'the encoded image', model),
      });
      return { mean: of(encoded.map(({ mean }) => mean)), std: of(encoded.map(({ std }) => std)) };
    },
  };
}

/** latents [N,C,h,w] as a U-Net has them → images [N,3,H,W], about −1…1. */
export function decodePart(request: { model?: string; latents?: TensorInput | null }): Part<Floats> {
  return {
    model: request.model ?? '',
    check(model) {
      const { count, size } = readLatents(model, 'latents', request.latents);
      return needs(model, 'decoding', count, decodingCost(model.checkpoint, size));
    },
    async run(model: Model, { evaluator, ticket }: Bench) {
      const { data, count, size } = readLatents(model, 'latents', request.latents);
      const { autoencoder } = model;
      const images = [];
      for (const latents of split(data, count)) {
        const decode = () => autoencoder.decode(latents, size);
        images.push((await evaluator.exclusive(decode, ticket)).image);
      }
      const { scale } = autoencoder;
      const shape = [count, 3, size.height * scale, size.width * scale];
      return { shape, data: finite(join(images), 'the decoded image', model) };
    },
  };
}

/** Of one after the other. */
function needs(model: OpenModel, what: string, count: number, { bytes, flops }: PlanCost): Needs {
  return { memory: memoryFor(model, what, bytes), workload: { ...noWork, flops: count * flops } };
}

/** [N,C,h,w] of a model's latents. */
export function readLatents(model: OpenModel, field: string, input: TensorInput | null | undefined) {
  const { channels } = model.latentSpace;
  const latents = readTensor(field, input, [batch, channels, latentSide(model), latentSide(model)]);
  const [count, , height, width] = latents.shape as [number, number, number, number];
  const size: LatentSize = { height, width };
  checkArea(field, count, size);
  return { ...latents, count, size };
}

function split(data: Float32Array, count: number): Float32Array[] {
  const size = data.length / count;
  return Array.from({ length: count }, (_, i) => data.subarray(i * size, (i + 1) * size));
}
