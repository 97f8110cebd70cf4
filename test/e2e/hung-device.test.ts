import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

// Devices that hang, simulated: each command says so, and ends.

const BIN = fileURLToPath(new URL('../../sidecar/bin/latent-edge.mjs', import.meta.url));

function run(hang: string, ...args: string[]): Promise<{ status: number | null; said: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, LATENT_EDGE_SETUP: 'off', LATENT_EDGE_TEST_HANG: hang, GRPC_PORT: '0' };
    const child = spawn(process.execPath, [BIN, ...args], { env });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        said += chunk;
      });
    child.on('close', (status) => resolve({ status, said }));
  });
}

const generate = ['generate', '--prompt', 'x', '--steps', '4', '--output', '/nowhere.png'];
const driver = 'the driver of the GPUs does not answer: it hangs';
const driverAndCpu = new RegExp(
  `FAIL GPU driver: ${driver}[^]*FAIL cpu: opening cpu has not ended within 1 s`,
);

it.each<[string, string, string[], number, string | RegExp]>([
  ['a run', 'cpu=3', [...generate, '--run-timeout', '2'], 69, 'it hangs'],
  ['opening', 'cpu=open', [...generate, '--run-timeout', '1'], 69, 'opening cpu has not ended within 1 s'],
  ['the driver', 'driver', [...generate, '--device', 'cuda:0', '--run-timeout', '1'], 69, driver],
  ['the driver', 'driver', ['serve', '--device', 'cuda:0', '--run-timeout', '1'], 69, driver],
  ['opening', 'cpu=open', ['serve', '--run-timeout', '1'], 69, 'opening cpu has not ended within 1 s'],
  // Nobody asks the driver for the CPU's threads.
  [
    'the driver',
    'driver,cpu=open',
    ['serve', '--device', 'cpu*2', '--run-timeout', '1'],
    69,
    'opening cpu has',
  ],
  // The CPU is looked at all the same; that it hangs too makes this short.
  ['driver and CPU', 'driver,cpu=open', ['doctor', '--run-timeout', '1'], 1, driverAndCpu],
])('%s: %s', async (_, hang, args, status, said) => {
  const ended = await run(hang, ...args);
  expect(ended.said).toMatch(said);
  expect(ended.status).toBe(status);
});
