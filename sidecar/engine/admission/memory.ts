import { basename } from 'node:path';
import { errors } from '../../errors.ts';
import type { Component } from '../../models/components.ts';
import type { ControlNetConfig } from '../../models/controlnet-config.ts';
import { encodingCost, type LatentSize } from '../autoencoder.ts';
import type { DecoderChoice } from '../decoders/choose.ts';
import { predictionCost, TOKENS } from '../denoiser.ts';
import { rowsPerRun } from '../evaluator.ts';
import type { OpenModel } from '../open-model.ts';
import { decoderCost } from './workload.ts';

/** What a request takes of a device's memory at one time, at most: the weights and the largest of its programs. */
export interface MemoryNeed {
  /** Bytes. */
  weights: number;
  /** Whose they are. */
  names: readonly string[];
  /** What the largest program does, and its bytes. */
  program: { what: string; bytes: number };
}

/** What is made at one size: images, or the same images enlarged. */
export interface MadeAt {
  size: LatentSize;
  count: number;
  encodes: boolean;
}

/** What a request has on the device beside its model. */
export interface Beside {
  /** ControlNets that take part. */
  nets?: readonly Component<ControlNetConfig>[];
  refiner?: OpenModel | undefined;
  /** What decodes its images, and its previews. */
  decoders?: readonly DecoderChoice[];
}

/**
 * Adapters count for nothing: of a weight that one changes, the request has the changed one on the device in the place of
 * the model's own.
 */
export function memoryOf(
  model: OpenModel,
  runs: readonly MadeAt[],
  isGuided: boolean,
  { nets = [], refiner, decoders = [{ kind: 'model' }] }: Beside = {},
): MemoryNeed {
  const { checkpoint, latentSpace } = model;
  const tokensOf = ({ texts }: OpenModel) => (texts.length > 0 ? TOKENS : 0);
  const programs = runs.flatMap(({ size, count, encodes }) => {
    const batch = Math.min((isGuided ? 2 : 1) * count, rowsPerRun(size));
    const pixels = `${size.width * latentSpace.scale}x${size.height * latentSpace.scale}`;
    const denoising = (by: OpenModel, nets: Beside['nets'] = []) =>
      predictionCost(by.checkpoint, batch, size, tokensOf(by), nets).bytes;
    return [
      { what: `denoising ${pixels}`, bytes: denoising(model, nets) },
      ...(refiner ? [{ what: `refining ${pixels}`, bytes: denoising(refiner) }] : []),
      ...[model, ...(refiner ? [refiner] : [])].flatMap((by) =>
        decoders.map((decoder) => ({
          what: `decoding ${pixels}`,
          bytes: decoderCost(decoder, by, size).bytes,
        })),
      ),
      ...(encodes ? [{ what: `encoding ${pixels}`, bytes: encodingCost(checkpoint, size).bytes }] : []),
    ];
  });
  const tiny = decoders.flatMap((decoder) => (decoder.kind === 'tiny' ? [decoder.component] : []));
  const parts = [...nets, ...new Map(tiny.map((each) => [each.dir, each])).values()];
  return {
    weights: parts.reduce((sum, { bytes }) => sum + bytes, model.bytes + (refiner?.bytes ?? 0)),
    names: [model.name, ...(refiner ? [refiner.name] : []), ...parts.map(({ dir }) => basename(dir))],
    program: largest(programs),
  };
}

/** Of a model and one program. */
export function memoryFor(model: OpenModel, what: string, bytes: number): MemoryNeed {
  return { weights: model.bytes, names: [model.name], program: { what, bytes } };
}

/**
 * Refuses what can never fit, before any work is done.
 * @param memory bytes of the device.
 * @throws ServiceError out_of_memory, saying what it would take.
 */
export function checkMemory({ weights, names, program }: MemoryNeed, memory: number): void {
  if (weights + program.bytes <= memory) return;
  throw errors.neverFits(
    `Expected a request that fits into the ${gigabytes(memory)} of memory that this device has, but ` +
      `${program.what} takes ${gigabytes(program.bytes)} beside the ${gigabytes(weights)} of the weights of ` +
      `${names.join(' and ')}: ask for a smaller size`,
  );
}

function largest<T extends { bytes: number }>(all: readonly T[]): T {
  return all.reduce((most, one) => (one.bytes > most.bytes ? one : most));
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toPrecision(3)} GB`;
}
