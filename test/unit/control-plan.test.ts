import { expect, it } from 'vitest';
import type { AdmittedControl } from '../../sidecar/engine/control/admit.ts';
import { ignoredControls, withPart } from '../../sidecar/engine/control/plan.ts';
import { parseUnits } from '../../sidecar/engine/control/units.ts';
import type { Planned } from '../../sidecar/engine/request-plan/index.ts';

// Which ControlNets a run needs, before there is anything on a device.

const config = { layers_per_block: [2, 2, 2, 2] };

/** A run of 4 steps, from `first` on and up to `at`, and of `hires` steps the last `evaluations` again. */
function runs({ first = 0, at, hires }: { first?: number; at?: number; hires?: [number, number] } = {}) {
  const [evaluations, of] = hires ?? [0, 0];
  return {
    work: { steps: 4, sampler: { timesteps: [999, 749, 499, 249] }, source: { first } },
    handover: at === undefined ? undefined : { at },
    hires: hires && { evaluations, first: of - evaluations },
  } as unknown as Planned;
}

const part = (fields: object, planned: Planned) => {
  const units = parseUnits([{ model: 'canny', ...fields }]);
  const admitted = units.map((unit) => ({ unit, component: { config } })) as unknown as AdmittedControl[];
  return { taking: withPart(admitted, planned).length, ignored: ignoredControls(units, false, planned) };
};

it.each<[object, Parameters<typeof runs>[0], number]>([
  [{}, {}, 1],
  [{ start: 0.3, end: 0.45 }, {}, 0],
  [{ start: 0.75 }, {}, 1],
  // A refiner's steps are not among them, and the window is that of those before.
  [{ start: 0.75 }, { at: 2 }, 0],
  [{ start: 0.5 }, { at: 2 }, 1],
  [{ end: 0.5 }, { first: 3 }, 0],
  // Between two steps of the first run, and around one of the second's three.
  [{ start: 0.3, end: 0.7 }, { first: 2, hires: [3, 4] }, 1],
])('the window %o of the runs %o: %i', (fields, planned, taking) => {
  const said = [
    expect.stringMatching(/^control\[0\]\.start: no step lies between .*, so canny has no part$/),
  ];
  expect(part(fields, runs(planned))).toEqual({ taking, ignored: taking === 0 ? said : [] });
});

it('scales of steps count where they are run', () => {
  const early = { scale: [1, 1, 0, 0] };
  expect(part(early, runs()).taking).toBe(1);
  expect(part({ ...early, start: 0.5 }, runs()).taking).toBe(0);
  expect(part(early, runs({ first: 2 })).taking).toBe(0);
  expect(part(early, runs({ first: 2, hires: [3, 4] })).taking).toBe(1);
});
