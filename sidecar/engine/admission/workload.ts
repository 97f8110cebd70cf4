import type { Component } from '../../models/components.ts';
import type { ControlNetConfig } from '../../models/controlnet-config.ts';
import { decodingCost, encodingCost, type LatentSize } from '../autoencoder.ts';
import type { DecoderChoice } from '../decoders/choose.ts';
import { tinyDecodingCost } from '../decoders/tiny.ts';
import { predictionCost, rowsKey, TOKENS } from '../denoiser.ts';
import type { OpenModel } from '../open-model.ts';
import type { Planned } from '../request-plan/index.ts';

/** Evaluations of one U-Net at one size. */
export interface Pass {
  /** What its rows are measured by. */
  key: string;
  /** Of all steps, images and texts. */
  rows: number;
  rowFlops: number;
}

/** What a request has a device compute, known before it is accepted. */
export interface Workload {
  passes: readonly Pass[];
  /** Steps, those of each image. */
  steps: number;
  /** Floating-point operations of all but the steps: encoding and decoding of pictures. */
  flops: number;
}

export const noWork: Workload = { passes: [], steps: 0, flops: 0 };

type Nets = readonly Component<ControlNetConfig>[];

export interface Steps {
  size: LatentSize;
  /** Of each image. */
  evaluations: number;
  images: number;
  isGuided: boolean;
}

/** Of the steps alone. */
export function passOf(
  model: OpenModel,
  { size, evaluations, images, isGuided }: Steps,
  nets: Nets = [],
): Pass {
  const { checkpoint } = model;
  const tokens = model.texts.length > 0 ? TOKENS : 0;
  return {
    key: rowsKey(checkpoint, size, nets),
    rows: evaluations * images * (isGuided ? 2 : 1),
    rowFlops: predictionCost(checkpoint, 1, size, tokens, nets).flops,
  };
}

/** @param nets ControlNets that take part: counted at every step of the first model. */
export function workloadOf(
  { work, handover, hires }: Planned,
  model: OpenModel,
  refiner: OpenModel | undefined,
  nets: Nets,
  decoder: DecoderChoice,
): Workload {
  const { count, guidanceScale, source, sampler, shape } = work;
  const isGuided = guidanceScale > 1;
  const { length } = sampler.timesteps;
  const base = Math.max(0, (handover?.at ?? length) - (source?.first ?? 0));
  const refined = handover && refiner ? length - handover.at : 0;
  const again = hires?.evaluations ?? 0;
  const steps = (of: Planned['work']['shape'], evaluations: number): Steps => ({
    ...{ size: sizeOf(of), evaluations, images: count, isGuided },
  });
  const passes = [passOf(model, steps(shape, base), nets)];
  if (refined > 0) passes.push(passOf(refiner!, steps(shape, refined)));
  if (hires) passes.push(passOf(model, steps(hires.shape, again), nets));
  const decoded = [...(work.end === undefined ? [shape] : []), ...(hires ? [hires.shape] : [])];
  const encoded = hires?.upscaler === 'pixel' ? [hires.shape] : [];
  const { checkpoint } = model;
  const flops =
    count * decoded.reduce((sum, of) => sum + decoderCost(decoder, model, sizeOf(of)).flops, 0) +
    count * encoded.reduce((sum, of) => sum + encodingCost(checkpoint, sizeOf(of)).flops, 0) +
    (source ? encodingCost(checkpoint, sizeOf(shape)).flops : 0);
  return { passes, steps: count * (base + refined + again), flops };
}

/** Of one image, by whatever decodes it. */
export function decoderCost(decoder: DecoderChoice, model: OpenModel, size: LatentSize) {
  if (decoder.kind === 'linear') return { bytes: 0, flops: 0 };
  return decoder.kind === 'tiny'
    ? tinyDecodingCost(decoder.component, size)
    : decodingCost(model.checkpoint, size);
}

function sizeOf([, height, width]: Planned['work']['shape']): LatentSize {
  return { height, width };
}
