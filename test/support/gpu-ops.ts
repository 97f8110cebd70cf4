import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { excess, naive, runOp } from '../../sidecar/doctor/bound.ts';
import { opCases, type RunnableCase } from '../../sidecar/doctor/cases.ts';
import { type NativeDevice, native, type OpenOptions, type Precision } from '../../sidecar/native.ts';

const PRECISIONS: Precision[] = ['f16', 'bf16', 'f32'];

/**
 * The suite of all op cases, or those given, for a GPU in each of its types. Against the CPU's plain loops, which take
 * a second for a billion operations; for large cases against its fast kernels, in float32.
 */
export function testOps(
  open: (dtype: Precision) => Promise<NativeDevice>,
  ops: { op: string; cases: RunnableCase[] }[] = opCases(),
  against: OpenOptions = { device: 'cpu-reference', threads: 1 },
  precisions = PRECISIONS,
) {
  let reference: NativeDevice;
  const devices = {} as Record<Precision, NativeDevice>;
  beforeAll(async () => {
    reference = await native().open(against);
    for (const dtype of precisions) devices[dtype] = await open(dtype);
  });
  afterAll(async () => {
    for (const device of [reference, ...Object.values(devices)]) await device.dispose();
  });

  describe.each(ops)('$op', ({ cases }) => {
    test.each(cases)('$title', async ({ plan, draw }) => {
      const values = draw();
      const [exact] = await runOp(reference, plan, values);
      for (const dtype of precisions) {
        const [actual] = await runOp(devices[dtype], plan, values);
        const naive16 = dtype === 'f32' ? exact! : await naive(reference, plan, values, dtype);
        expect(excess(actual!, exact!, naive16, dtype), dtype).toBeLessThanOrEqual(1);
      }
    });
  });
}
