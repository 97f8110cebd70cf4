import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type NativeDevice, type NativeTensor, native } from '../../sidecar/native.ts';
import { linearChain, scaling } from '../support/plans.ts';

const nothing = { weights: 0, arenas: 0, tensors: 0, scratch: 0 };
const ones = (n: number) => new Float32Array(n).fill(1);

let device: NativeDevice;
beforeEach(async () => {
  device = await native().open({ device: 'cpu', threads: 2, poison: true });
});
afterEach(() => device.dispose());

describe('devices', () => {
  test('lists the CPU and its reference', () => {
    const devices = native().devices();
    expect(devices.map((d) => d.id)).toEqual(expect.arrayContaining(['cpu', 'cpu-reference']));
    expect(devices[0]!.threads).toBeGreaterThan(0);
    expect(devices[0]!.memoryBytes).toBeGreaterThan(2 ** 28);
    expect(devices[0]!.arch).toMatch(/^(avx512|avx2|neon|baseline)$/);
  });

  test('CPUs alone are listed without the driver of GPUs', () => {
    const cpus = native().devices({ gpus: false, hang: true, patienceMs: 1 });
    expect(cpus.map(({ id }) => id)).toEqual(['cpu', 'cpu-reference']);
  });

  test.each([
    [{ device: 'tpu' }, /Unknown device "tpu": this machine has cpu, cpu-reference/],
    [{ device: 'cuda:99' }, /Unknown device "cuda:99": this machine has cpu, cpu-reference/],
    [{ device: 7 }, /Expected a string for options.device but received 7/],
    [{ device: 'cpu', threads: 0 }, /Expected an integer from 1 to 256 for options.threads but received 0/],
    [{ device: 'cpu', threads: 1.5 }, /options.threads but received 1.5/],
    [{ device: 'cpu', poison: 'yes' }, /Expected a boolean for options.poison but received the string "yes"/],
    [
      { device: 'cpu', loseAfter: -1 },
      /Expected an integer from 0 to \d+ for options.loseAfter but received -1/,
    ],
    [undefined, /Expected an object for options but received undefined/],
  ])('open(%o) is refused', async (options, message) => {
    await expect(native().open(options as never)).rejects.toThrow(message);
  });

  test('tells which device was opened', () => {
    expect(device.info).toMatchObject({ id: 'cpu', threads: 2 });
  });
});

describe('a device that is lost', () => {
  test('says so of all that is asked of it, and can be disposed of', async () => {
    const lost = await native().open({ device: 'cpu', threads: 1, loseAfter: 2 });
    const weights = await lost.loadWeights(scaling(8));
    const program = await lost.compile(linearChain(1, 8), weights);
    for (let i = 0; i < 2; i++) await program.run({ x: ones(8) });
    const code = 'ERR_DEVICE_LOST';
    const runs = [program.run({ x: ones(8) }), program.run({ x: ones(8) })];
    await Promise.all(runs.map((run) => expect(run).rejects.toMatchObject({ code })));
    await expect(lost.compile(linearChain(1, 8), weights)).rejects.toMatchObject({ code });
    await expect(lost.loadWeights(scaling(8))).rejects.toMatchObject({ code });
    await program.dispose();
    await lost.dispose();
    expect(lost.memory()).toEqual(nothing);
  });
});

describe('life cycle', () => {
  test('load, compile, run', async () => {
    const weights = await device.loadWeights(scaling(8, 3));
    const program = await device.compile(linearChain(2, 8, 3), weights);
    const { y } = await program.run({ x: ones(16) });
    expect(y).toEqual(new Float32Array(16).fill(((1 * 2 + 1) * 2 + 1) * 2 + 1));
  });

  test('runs come in the order of the calls', async () => {
    const program = await device.compile(linearChain(1, 8), await device.loadWeights(scaling(8)));
    const order: number[] = [];
    const runs = Array.from({ length: 20 }, async (_, i) => {
      const { y } = await program.run({ x: ones(8).fill(i) });
      order.push(i);
      expect((y as Float32Array)[0]).toBe(2 * i + 1);
    });
    await Promise.all(runs);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  test('inputs are copied before run returns', async () => {
    const program = await device.compile(linearChain(1, 8), await device.loadWeights(scaling(8)));
    const x = ones(8);
    const running = program.run({ x });
    x.fill(Number.NaN);
    expect((await running).y).toEqual(new Float32Array(8).fill(3));
  });

  test('weights in memory are copied before loadWeights returns', async () => {
    const sources = scaling(8);
    const loading = device.loadWeights(sources);
    for (const source of sources) if ('data' in source) source.data.fill(Number.NaN);
    const program = await device.compile(linearChain(1, 8), await loading);
    expect((await program.run({ x: ones(8) })).y).toEqual(new Float32Array(8).fill(3));
  });

  test('dispose of a device waits for runs in flight, and can be called again', async () => {
    const reference = await native().open({ device: 'cpu-reference', threads: 1 });
    const program = await reference.compile(
      linearChain(128, 256, 8),
      await reference.loadWeights(scaling(256, 8, 1, 1)),
    );
    const events: string[] = [];
    const run = program.run({ x: ones(128 * 256) }).then(({ y }) => {
      events.push('run');
      expect((y as Float32Array).at(-1)).toBe(9);
    });
    const disposals = [reference.dispose(), reference.dispose()].map((p) =>
      p.then(() => events.push('disposed')),
    );
    await expect(program.run({ x: ones(128 * 256) })).rejects.toThrow(
      'Device cpu-reference has been disposed',
    );
    await Promise.all([run, ...disposals]);
    expect(events).toEqual(['run', 'disposed', 'disposed']);
    await reference.dispose();
    expect(reference.memory()).toEqual(nothing);
  });

  test('every call after dispose rejects', async () => {
    const weights = await device.loadWeights(scaling(8));
    const program = await device.compile(linearChain(1, 8), weights);
    const { y } = await program.run({ x: ones(8) }, { keep: ['y'] });
    await device.dispose();
    const gone = 'Device cpu has been disposed';
    await expect(program.run({ x: ones(8) })).rejects.toThrow(gone);
    await expect(device.compile(linearChain(1, 8), weights)).rejects.toThrow(gone);
    await expect(device.loadWeights(scaling(8))).rejects.toThrow(gone);
    await program.dispose();
    await weights.dispose();
    (y as NativeTensor).dispose();
    expect(device.memory()).toEqual(nothing);
    expect(device.info.id).toBe('cpu');
  });

  test('dispose of a program or of weights ends their use alone', async () => {
    const weights = await device.loadWeights(scaling(8));
    const program = await device.compile(linearChain(1, 8), weights);
    const other = await device.compile(linearChain(2, 8, 1, 'other'), weights);
    const last = program.run({ x: ones(8) });
    await Promise.all([program.dispose(), program.dispose(), weights.dispose(), weights.dispose()]);
    expect((await last).y).toEqual(new Float32Array(8).fill(3));
    await expect(program.run({ x: ones(8) })).rejects.toThrow('Plan "chain" has been disposed');
    await expect(device.compile(linearChain(1, 8), weights)).rejects.toThrow(
      'The weights have been disposed',
    );
    expect((await other.run({ x: ones(16) })).y).toEqual(new Float32Array(16).fill(3));
  });
});

describe('errors that callers tell apart', () => {
  test('an arena beyond any memory', async () => {
    const weights = await device.loadWeights(scaling(8, 1));
    const plan = { ...linearChain(2, 8), arenaBytes: 2 ** 50 };
    await expect(device.compile(plan, weights)).rejects.toMatchObject({
      code: 'ERR_OUT_OF_MEMORY',
      message: expect.stringMatching(/^Not enough memory: cannot allocate 1125899906842624 bytes/),
    });
  });

  test('weights that cannot be used', async () => {
    const code = 'ERR_BAD_WEIGHTS';
    const missing = { name: 'w', dtype: 'F32' as const, shape: [1], file: '/nowhere/w', offset: 0 };
    await expect(device.loadWeights([missing])).rejects.toMatchObject({ code });
    const none = await device.loadWeights([]);
    await expect(device.compile(linearChain(2, 8), none)).rejects.toMatchObject({ code });
    const [bad, ...rest] = scaling(8, 1);
    const nan = await device.loadWeights([{ ...bad!, data: ones(64).fill(Number.NaN) } as never, ...rest]);
    await expect(device.compile(linearChain(2, 8), nan)).rejects.toMatchObject({ code });
  });

  test('others have no code', async () => {
    const weights = await device.loadWeights([]);
    await weights.dispose();
    const error = await device.compile(linearChain(2, 8), weights).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toHaveProperty('code');
  });
});

describe('memory account', () => {
  test('returns to its level when everything is disposed', async () => {
    const weights = await device.loadWeights(scaling(32));
    const program = await device.compile(linearChain(4, 32), weights);
    const { y } = (await program.run({ x: ones(128) }, { keep: ['y'] })) as { y: NativeTensor };
    const held = device.memory();
    expect(held).toMatchObject({ arenas: 1024, tensors: 512 });
    expect(held.weights).toBeGreaterThanOrEqual(2 * 4 * (32 * 32 + 32));
    y.dispose();
    y.dispose();
    await program.dispose();
    expect(device.memory()).toMatchObject({ arenas: 0, tensors: 0, scratch: 0, weights: held.weights });
    await weights.dispose();
    expect(device.memory()).toEqual(nothing);
  });

  test('programs share what was packed, and an arena as large as the largest needs', async () => {
    const weights = await device.loadWeights(scaling(32));
    const one = await device.compile(linearChain(4, 32), weights);
    const held = device.memory().weights;
    expect(device.memory()).toMatchObject({ weights: held, arenas: 1024 });
    const two = await device.compile(linearChain(8, 32), weights);
    expect(device.memory()).toMatchObject({ weights: held, arenas: 2048 });
    const before = await one.run({ x: ones(128) });
    await two.run({ x: ones(256) });
    expect(await one.run({ x: ones(128) })).toEqual(before);
    await two.dispose();
    expect(await one.run({ x: ones(128) })).toEqual(before);
    expect(device.memory()).toMatchObject({ weights: held, arenas: 1024 });
  });

  test('a failed compile keeps no arena and no scratch', async () => {
    const weights = await device.loadWeights(scaling(8));
    const plan = linearChain(1, 8, 2);
    await expect(device.compile(plan, weights)).rejects.toThrow('layer.1');
    expect(device.memory()).toMatchObject({ arenas: 0, scratch: 0 });
  });
});
