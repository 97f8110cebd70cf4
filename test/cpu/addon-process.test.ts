import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const addon =
  process.env.LATENT_EDGE_ADDON ??
  fileURLToPath(new URL('../../cuda/build/latent_edge.node', import.meta.url));

// A run of some tenths of a second on the plain kernels.
const prelude = `
  const { createRequire } = require('node:module');
  const native = require(${JSON.stringify(addon)});
  const [rows, width, depth] = [256, 256, 24];
  const at = (i) => ({ dtype: 'f32', shape: [rows, width], offset: (i % 2) * rows * width * 4 });
  const plan = { version: 1, name: 'slow', arenaBytes: 2 * rows * width * 4,
    inputs: [{ name: 'x', ...at(0) }], outputs: [{ name: 'y', ...at(depth) }],
    ops: Array.from({ length: depth }, (_, i) => ({ op: 'linear', scope: 'slow', inputs: { x: at(i) },
      weights: { weight: { names: ['w'], shape: [width, width] } }, attrs: {}, output: at(i + 1) })) };
  let started = () => {};
  async function slowRun() {
    const device = await native.open({ device: 'cpu-reference', threads: 1 });
    const weights = await device.loadWeights(
      [{ name: 'w', dtype: 'F32', shape: [width, width], data: new Float32Array(width * width) }]);
    const program = await device.compile(plan, weights);
    const running = program.run({ x: new Float32Array(rows * width) });
    started();
    return running;
  }`;

function node(script: string) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', prelude + script], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, signal, stdout, stderr };
}

test('a process ends though devices are open', () => {
  const ended = node(`
    (async () => {
      for (const device of ['cpu', 'cpu-reference']) await native.open({ device });
      console.log('opened');
    })();`);
  expect(ended).toEqual({ status: 0, signal: null, stdout: 'opened\n', stderr: '' });
});

test('a run keeps the process until its result has come', () => {
  const ended = node(`slowRun().then(({ y }) => console.log('ran', y.length));`);
  expect(ended).toEqual({ status: 0, signal: null, stdout: 'ran 65536\n', stderr: '' });
});

test('process.exit during a run, with more waiting', () => {
  const ended = node(`
    let runs = 0;
    started = () => {
      if (++runs < 2) return;
      console.log('exit');
      process.exit(3);
    };
    slowRun();
    slowRun();`);
  expect(ended).toEqual({ status: 3, signal: null, stdout: 'exit\n', stderr: '' });
});

test('a worker thread terminated during a run, and one that ends by itself', () => {
  const ended = node(`
    const { Worker } = require('node:worker_threads');
    const run = ${JSON.stringify(prelude)} + \`
      started = () => require('node:worker_threads').parentPort.postMessage('started');
      slowRun().then(() => console.log('worker ran'));\`;
    const killed = new Worker(run, { eval: true });
    killed.once('message', async () => {
      await killed.terminate();
      new Worker(run, { eval: true }).on('exit', (code) => console.log('exit', code));
    });`);
  expect(ended).toEqual({ status: 0, signal: null, stdout: 'worker ran\nexit 0\n', stderr: '' });
});

test('devices that are garbage go away', () => {
  const ended = node(`
    (async () => {
      const { setTimeout: sleep } = require('node:timers/promises');
      require('node:v8').setFlagsFromString('--expose-gc');
      const gc = require('node:vm').runInNewContext('gc');
      const threads = () => require('node:fs').readdirSync('/proc/self/task').length;
      await native.open({ device: 'cpu', threads: 4 });
      gc(); await sleep(50);
      const before = threads();
      for (let i = 0; i < 20; i++) await native.open({ device: 'cpu', threads: 4 });
      for (let i = 0; i < 500 && threads() - before > 8; i++) { gc(); await sleep(20); }
      console.log(threads() - before <= 8);
    })();`);
  expect(ended).toEqual({ status: 0, signal: null, stdout: 'true\n', stderr: '' });
});

test('LATENT_EDGE_ISA that this machine has not is an error, not another one', () => {
  const script = `
    const message = (error) => error.message;
    let listed;
    try { native.devices(); } catch (error) { listed = message(error); }
    native.open({ device: 'cpu' }).catch(message).then((opened) => console.log(listed, opened === listed));`;
  const { status, stdout } = spawnSync(process.execPath, ['-e', prelude + script], {
    encoding: 'utf8',
    env: { ...process.env, LATENT_EDGE_ISA: 'avx3' },
  });
  expect(stdout).toMatch(/^Expected one of .*baseline, .+ for LATENT_EDGE_ISA but received "avx3" true\n$/);
  expect(status).toBe(0);
});
