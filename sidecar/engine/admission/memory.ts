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

/** @param nets ControlNets that take part. */
export function memoryOf(
  model: OpenModel,
  nets: readonly Component<ControlNetConfig>[],
  runs: readonly MadeAt[],
  isGuided: boolean,
  decoder: DecoderChoice = { kind: 'model' },
): MemoryNeed {
  const { checkpoint, latentSpace } = model;
  const tokens = model.texts.length > 0 ? TOKENS : 0;
  const programs = runs.flatMap(({ size, count, encodes }) => {
    const batch = Math.min((isGuided ? 2 : 1) * count, rowsPerRun(size));
    const pixels = `${size.width * latentSpace.scale}x${size.height * latentSpace.scale}`;
    return [
      { what: `denoising ${pixels}`, bytes: predictionCost(checkpoint, batch, size, tokens, nets).bytes },
      { what: `decoding ${pixels}`, bytes: decoderCost(decoder, model, size).bytes },
      ...(encodes ? [{ what: `encoding ${pixels}`, bytes: encodingCost(checkpoint, size).bytes }] : []),
    ];
  });
  return {
    weights: nets.reduce((sum, { bytes }) => sum + bytes, model.bytes),
    names: [model.name, ...nets.map(({ dir }) => basename(dir))],
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
