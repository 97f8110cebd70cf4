import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { memoryOf } from '../../sidecar/engine/admission/memory.ts';
import { Speed } from '../../sidecar/engine/admission/speed.ts';
import { type Workload, workloadOf } from '../../sidecar/engine/admission/workload.ts';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import { parseRequest } from '../../sidecar/engine/request.ts';
import { openPictures, planRequest } from '../../sidecar/engine/request-plan/index.ts';
import { openPart } from '../../sidecar/models/components.ts';
import { greyPicture } from '../support/controls.ts';
import { fixtureModel } from '../support/fixtures.ts';

// What a request takes, known from its plans: no device.

let model: OpenModel;
let image: Buffer;
beforeAll(async () => {
  const dir = fileURLToPath(new URL('../../models/tiny-emoji-ldm', import.meta.url));
  model = await OpenModel.open({ name: 'emoji', dir });
  image = await greyPicture(64, 64, () => 0);
});

async function workOf(input: object, refiner?: OpenModel): Promise<Workload> {
  const request = parseRequest({ prompt: 'x', steps: 10, sampler: 'euler', ...input });
  const planned = planRequest(request, await openPictures(request), model);
  return workloadOf(planned, model, refiner, [], { kind: 'model' });
}
const runsAt = (side: number) => [{ size: { height: side, width: side }, count: 1, encodes: false }];
const rows = ({ passes }: Workload) => passes.map((pass) => pass.rows);

describe('a request takes', () => {
  it.each<[string, object, number, number[]]>([
    ['two rows a step with guidance', {}, 10, [20]],
    ['one without', { guidanceScale: 1 }, 10, [10]],
    ['as many for each image', { count: 3 }, 30, [60]],
    ['more with samplers that evaluate twice', { sampler: 'heun' }, 19, [38]],
    ['the second pass too', { hiresScale: 2, hiresStrength: 0.5 }, 15, [20, 10]],
  ])('%s', async (_, input, steps, expected) => {
    const work = await workOf(input);
    expect(work.steps).toBe(steps);
    expect(rows(work)).toEqual(expected);
  });

  it('the steps of its strength from a picture, which is encoded', async () => {
    const [whole, part] = [await workOf({}), await workOf({ initImage: image, strength: 0.5 })];
    expect(part.steps).toBe(5);
    expect(part.flops).toBeGreaterThan(whole.flops);
  });

  it('the base’s steps and the refiner’s, each of its own', async () => {
    const { passes, steps } = await workOf({ refiner: 'emoji', refinerStart: 0.5 }, model);
    expect(steps).toBe(10);
    expect(passes.map((pass) => pass.rows)).toEqual([10, 10]);
  });

  it('more operations for a larger image, and more memory', async () => {
    const [small, large] = [await workOf({}), await workOf({ width: 128, height: 128 })];
    expect(large.passes[0]!.key).not.toBe(small.passes[0]!.key);
    expect(large.passes[0]!.rowFlops).toBeGreaterThan(3.9 * small.passes[0]!.rowFlops);
    const bytes = (side: number) => memoryOf(model, runsAt(side), true);
    expect(bytes(32).program.bytes).toBeGreaterThan(3 * bytes(16).program.bytes);
    expect(bytes(16).weights).toBe(model.bytes);
  });

  it('the memory of all that it has on the device: a refiner, and tiny autoencoders, each once', async () => {
    const large = await OpenModel.open({ name: 'large', dir: await fixtureModel('tiny-sdxl-refiner') });
    const dir = await fixtureModel('tiny-taesd');
    const tiny = { kind: 'tiny' as const, name: 'taesd', component: await openPart(dir, 'taesd') };
    const refined = memoryOf(model, runsAt(16), true, { refiner: large });
    expect(refined.weights).toBe(model.bytes + large.bytes);
    expect(refined.names).toEqual(['emoji', 'large']);
    const alone = memoryOf(model, runsAt(16), true);
    const own = memoryOf(large, runsAt(16), true);
    expect(refined.program.bytes).toBe(Math.max(alone.program.bytes, own.program.bytes));
    const decoded = memoryOf(model, runsAt(16), true, { decoders: [tiny, tiny] });
    expect(decoded.weights).toBe(model.bytes + tiny.component.bytes);
    expect(decoded.names).toEqual(['emoji', expect.stringContaining('taesd')]);
  });
});

it('its time is by operations at first, then as measured', async () => {
  const speed = new Speed({ threads: 2 });
  const work = await workOf({});
  const [pass] = work.passes;
  expect(speed.ms(work)).toBeCloseTo((20 * pass!.rowFlops + work.flops) / 5e8, 6);
  speed.add(pass!.key, 4, 40);
  expect(speed.stepsMs(work)).toBe(200);
  // A mean that follows.
  for (let i = 0; i < 40; i++) speed.add(pass!.key, 1, 20);
  expect(speed.stepsMs(work)).toBeCloseTo(400, 1);
  expect(speed.ms(await workOf({ width: 128, height: 128 }))).toBeLessThan(1000);
});
