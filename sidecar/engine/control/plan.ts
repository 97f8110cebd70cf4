import { errors } from '../../errors.ts';
import type { Planned } from '../request-plan/index.ts';
import type { ModelStore } from '../store.ts';
import type { AdmittedControl } from './admit.ts';
import type { Control } from './controls.ts';
import { type Place, residualFactors, stepOf, takesPart } from './factors.ts';
import { type ControlUnit, fieldOf } from './units.ts';

/** A ControlNet of a request as it was run. */
export interface EffectiveControl {
  /** Without its image. */
  unit: Omit<ControlUnit, 'image'>;
  /** Of its tensors, SHA-256; empty where it took no part. */
  modelHash: string;
  /** One for each image and text that it saw. */
  evaluations: number;
}

/**
 * Those of a request's ControlNets that have a part in it. The others need not be loaded.
 * @throws ServiceError invalid_argument for scales that are not as many as the steps.
 */
export function withPart(admitted: readonly AdmittedControl[], planned: Planned): AdmittedControl[] {
  const { steps } = planned.work;
  for (const [i, { unit }] of admitted.entries())
    if (unit.scale.length > 1 && unit.scale.length !== steps)
      throw errors.unexpected(
        fieldOf(i, 'scale'),
        `one number, or one for each of ${steps} steps,`,
        `${unit.scale.length}`,
      );
  const places = placesOf(planned);
  return admitted.filter(({ unit, component }) =>
    places.some((place) => residualFactors(unit, component.config, false, place)),
  );
}

/** What says which evaluations a request has. */
type Runs = Pick<Planned, 'handover' | 'hires'> & {
  work: Pick<Planned['work'], 'sampler' | 'source' | 'steps'>;
};

/** The evaluations that ControlNets can have a part in: the base's, then the second pass's. */
function placesOf({ work, handover, hires }: Runs): Place[] {
  const { sampler, source, steps } = work;
  const run = (first: number, end: number, evaluations: number): Place[] =>
    Array.from({ length: Math.max(0, end - first) }, (_, i) => ({
      ...{ i, total: end - first, step: stepOf(first + i, steps, evaluations) },
    }));
  const { length } = sampler.timesteps;
  const base = run(source?.first ?? 0, handover?.at ?? length, length);
  if (!hires) return base;
  const again = hires.first + hires.evaluations;
  return [...base, ...run(hires.first, again, again)];
}

/** Runs `work` with those ControlNets on the device, loaded where they are not there. */
export function useControls<R>(
  store: ModelStore,
  admitted: readonly AdmittedControl[],
  guessMode: boolean,
  work: (controls: Control[]) => Promise<R>,
): Promise<R> {
  const next = (i: number, controls: Control[]): Promise<R> => {
    const admission = admitted[i];
    if (!admission) return work(controls);
    return store.useControlNet(admission.place, (net) =>
      next(i + 1, [...controls, { net, admitted: admission, guessMode, evaluations: 0 }]),
    );
  };
  return next(0, []);
}

/** What became of each unit. */
export function effectiveControls(
  admitted: readonly AdmittedControl[],
  controls: readonly Control[],
): Promise<EffectiveControl[]> {
  return Promise.all(
    admitted.map(async (admission) => {
      const { image: _, ...rest } = admission.unit;
      const { row, values } = admission.hint.preprocessor;
      const unit = { ...rest, preprocessor: row.name, preprocessorOptions: values };
      const control = controls.find((candidate) => candidate.admitted === admission);
      const evaluations = control?.evaluations ?? 0;
      return { unit, modelHash: control && evaluations > 0 ? await control.net.hash : '', evaluations };
    }),
  );
}

/** What was asked of ControlNets and had no effect, and why. */
export function ignoredControls(units: readonly ControlUnit[], guessMode: boolean, runs: Runs): string[] {
  const places = placesOf(runs);
  const idle = units.flatMap((unit, i) => {
    const at = (field: string) => fieldOf(i, field);
    if (unit.scale.every((scale) => scale === 0)) return [`${at('scale')}: 0, so ${unit.model} has no part`];
    if (unit.levelScale.length > 0 && unit.levelScale.every((scale) => scale === 0))
      return [`${at('level_scale')}: all 0, so ${unit.model} has no part`];
    if (!places.some((place) => takesPart(unit, place)))
      return [
        `${at('start')}: no step lies between ${unit.start} and ${unit.end}, so ${unit.model} has no part`,
      ];
    return [];
  });
  return guessMode && units.length === 0 ? ['guess_mode: there is no ControlNet'] : idle;
}
