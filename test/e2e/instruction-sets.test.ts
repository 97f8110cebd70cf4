import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase, fixtureModel, inputsOf } from '../support/fixtures.ts';
import { readTensors, writeTensors } from '../support/safetensors.ts';

// The other tests run what this machine's best instruction set computes; these, the others that it has.

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIN = join(ROOT, 'sidecar/bin/latent-edge.mjs');
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs');
const latentEdge = async (isa: string, ...args: string[]) =>
  (
    await promisify(execFile)(process.execPath, [BIN, ...args], {
      env: { ...process.env, LATENT_EDGE_ISA: isa },
    })
  ).stdout;

/** As the error about one that no machine has lists them, best first. */
async function instructionSets(): Promise<string[]> {
  const { message } = await latentEdge('none', 'devices').then(
    () => new Error('it has been found'),
    (error: Error) => error,
  );
  return /Expected one of ([\w, ]+), as this machine has/.exec(message)![1]!.split(', ');
}

const [best, ...others] = await instructionSets();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterAll(() => rm(folder, { recursive: true }));

it('the plainest is there always', () => {
  expect([best, ...others].at(-1)).toBe('baseline');
});

describe.each(others)('%s', (isa) => {
  it("computes every op's cases", async () => {
    expect(await latentEdge(isa, 'doctor', '--device', 'cpu')).toMatch(/cases of all ops agree/);
  });

  it('computes large operands by fewer products', async () => {
    const args = [VITEST, 'run', '--project', 'cpu', 'test/cpu/large-ops.test.ts'];
    await promisify(execFile)(process.execPath, args, {
      cwd: ROOT,
      env: { ...process.env, LATENT_EDGE_ISA: isa },
    });
  });

  it('a picture of weights in 8 bits is the best one’s', async () => {
    const draw = async (by: string) => {
      const latents = join(folder, `${by}-8-bits`);
      const request = ['--prompt', 'x', '--seed', '1', '--steps', '2', '--size', '64x64'];
      const to = ['--save-latents', latents, '--output', `${latents}.png`];
      const model = await fixtureModel('tiny-sd15');
      await latentEdge(by, 'generate', '--model', model, '--weights', 'int8', ...request, ...to);
      return readTensors(latents).latents!.data;
    };
    expect(relativeL2(await draw(isa), await draw(best!))).toBeLessThanOrEqual(1e-5);
  });

  it.each([
    ['unet', 'unet-sd15', 'sample'],
    ['vae.decode', 'vae', 'image'],
  ])('%s of weights in float16 is the reference’s', async (component, name, output) => {
    const { tensors } = fixtureCase(name);
    const [from, to] = [join(folder, `${isa}-${name}-in`), join(folder, `${isa}-${name}-out`)];
    await writeTensors(from, inputsOf(tensors));
    await latentEdge(isa, 'module', await fixtureModel('tiny-sd15'), component, from, to);
    const { data } = readTensors(to)[output]!;
    expect(relativeL2(data, tensors[`out.${output}`]!.data)).toBeLessThanOrEqual(1e-5);
  });
});
