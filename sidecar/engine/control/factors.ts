import { type ControlNetConfig, residualScales } from '../../models/controlnet-config.ts';
import type { ControlUnit } from './units.ts';

/** An evaluation's place: the `i`-th of `total` in this run, within the `step`-th of the steps asked for. */
export interface Place {
  i: number;
  total: number;
  step: number;
}

/** Of the steps asked for, that of a sampler's evaluation `i` of so many. */
export function stepOf(i: number, steps: number, evaluations: number): number {
  return Math.min(steps - 1, Math.floor((i * steps) / evaluations));
}

/** What the modes other than balanced make of the deepest level's 1, once more for each level above it. */
const SOFTNESS = 0.825;
const DEEPEST = 12;

/**
 * What a ControlNet's residuals are multiplied by in one evaluation, one factor for each.
 * @returns undefined where it has no part: outside its window, or where all factors are 0.
 */
export function residualFactors(
  unit: Pick<ControlUnit, 'scale' | 'start' | 'end' | 'mode' | 'levelScale'>,
  config: Pick<ControlNetConfig, 'layers_per_block'>,
  guessMode: boolean,
  place: Place,
): number[] | undefined {
  if (!takesPart(unit, place)) return undefined;
  const scale = unit.scale.length > 1 ? unit.scale[place.step]! : unit.scale[0]!;
  const factors = residualScales(config, scale, { guessMode }).map(
    (factor, level) => factor * modeFactor(unit, level) * (unit.levelScale[level] ?? 1),
  );
  return factors.every((factor) => factor === 0) ? undefined : factors;
}

/** As diffusers' StableDiffusionControlNetPipeline has it: the whole of the step lies in the window. */
export function takesPart({ start, end }: Pick<ControlUnit, 'start' | 'end'>, { i, total }: Place): boolean {
  return i / total >= start && (i + 1) / total <= end;
}

/**
 * As sd-webui-controlnet has it (scripts/hook.py, soft_injection), counted from the shallowest residual of Stable
 * Diffusion 1.5's 13; of models with fewer, as XL, the first of them.
 */
function modeFactor({ mode }: Pick<ControlUnit, 'mode'>, level: number): number {
  return mode === 'balanced' ? 1 : SOFTNESS ** Math.max(0, DEEPEST - level);
}
