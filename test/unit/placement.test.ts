import { beforeEach, describe, expect, it } from 'vitest';
import { inOrder } from '../../sidecar/engine/batching/order.ts';
import type { Demand, Place } from '../../sidecar/engine/devices/worker.ts';
import { Workers } from '../../sidecar/engine/devices/workers.ts';
import type { DeviceInfo, NativeDevice } from '../../sidecar/native.ts';

/** Devices on which a row of "step" takes ten milliseconds, and of whose memory 1 GB may be weights. */
function workersOf(count: number, concurrency = 16) {
  const device = {
    info: { threads: 1 } as DeviceInfo,
    memory: () => ({ weights: 0, arenas: 0, tensors: 0, scratch: 0 }),
  } as NativeDevice;
  const opened = Array.from({ length: count }, (_, i) => ({ id: `${i}`, device, memoryBytes: 2e9 }));
  const workers = new Workers(opened, { concurrency });
  for (const { speed } of workers.all) speed.add('step', 1, 10);
  return workers;
}

/** So many steps of a model of that many megabytes, which loads in as many milliseconds. */
function demand(model: string, steps: number, { megabytes = 100, program = 0, ...more } = {}): Demand {
  return {
    weights: [{ name: model, bytes: megabytes * 1e6 }],
    memory: { weights: megabytes * 1e6, names: [model], program: { what: 'denoising', bytes: program } },
    workload: { passes: [{ key: 'step', rows: steps, rowFlops: 1 }], steps, flops: 0 },
    ...more,
  };
}

let workers: Workers;
beforeEach(() => {
  workers = workersOf(2);
});
const reserve = (of: Demand, blocked = new Set<unknown>()) => workers.reserve(of, blocked);
const ids = (places: (Place | undefined)[]) => places.map((place) => place?.worker.id).join('');
const repeated = (times: number, make: () => Place | undefined) => Array.from({ length: times }, make);

describe('a request goes', () => {
  it('where its model is, as long as it waits there for less than loading takes', () => {
    // Of ten milliseconds each, beside a hundred for loading.
    expect(ids(repeated(10, () => reserve(demand('a', 1))))).toBe('0000000000');
    expect(ids(repeated(2, () => reserve(demand('a', 1))))).toBe('11');
  });

  it('where there is less to do, once its model is on both', () => {
    expect(ids(repeated(6, () => reserve(demand('a', 50))))).toBe('010101');
  });

  it('where nothing else is, if its model is nowhere', () => {
    expect(ids([reserve(demand('a', 50)), reserve(demand('b', 50)), reserve(demand('a', 1))])).toBe('010');
  });

  it('past longer ones, which let it go first, and past bulk', () => {
    const [long] = [reserve(demand('a', 50))];
    expect(ids([long, reserve(demand('a', 1))])).toBe('00');
    const other = workersOf(1);
    for (let i = 0; i < 5; i++) other.reserve(demand('a', 5, { priority: 'bulk' } as object), new Set());
    expect(other.all[0]!.waitMs(demand('a', 10))).toBe(0);
    expect(other.all[0]!.waitMs(demand('a', 10, { priority: 'bulk' } as object))).toBe(250);
  });

  it('where it fits', () => {
    workers = new Workers(
      [1e9, 4e9].map((memoryBytes, i) => ({
        ...{ id: `${i}`, memoryBytes },
        device: { info: { threads: 1 } } as NativeDevice,
      })),
      { concurrency: 1 },
    );
    expect(ids([reserve(demand('a', 1, { megabytes: 900, program: 2e9 }))])).toBe('1');
    expect(() => workers.checkFits(demand('a', 1, { program: 5e9 }))).toThrow(
      /4\.00 GB of memory .+ 5\.00 GB/,
    );
  });
});

it('one that has not begun is known to be pressed for time by the estimate of its steps', () => {
  const ticketOf = (model: string, deadline?: number) =>
    reserve(demand(model, 50, { deadline: deadline && Date.now() + deadline } as object))!.ticket;
  // 50 steps of ten milliseconds.
  const [none, far, near] = [ticketOf('a'), ticketOf('a', 60_000), ticketOf('a', 900)];
  expect(near.stepMs).toBe(10);
  expect(inOrder([none, far, near].map((ticket) => ({ ticket }))).map(({ ticket }) => ticket)).toEqual([
    near,
    none,
    far,
  ]);
});

it('one for which there is no room keeps the device free for itself, and that alone', () => {
  workers = workersOf(2, 2);
  const places = repeated(4, () => reserve(demand('a', 50)));
  expect(ids(places)).toBe('0101');
  const blocked = new Set<unknown>();
  expect(reserve(demand('a', 50), blocked)).toBeUndefined();
  expect([...blocked]).toEqual([workers.all[0]]);
  places[1]!.leave();
  // Less is waiting at 1 now, and a place is free there.
  expect(ids([reserve(demand('a', 50), blocked)])).toBe('1');
});
