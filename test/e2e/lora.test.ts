import { spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureLora } from '../support/adapters.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';
import { readTensors } from '../support/safetensors.ts';
import { startServers } from '../support/servers.ts';

const BIN = fileURLToPath(new URL('../../sidecar/bin/latent-edge.mjs', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function generate(...loras: string[]): Promise<{ status: number | null; err: string }> {
  const { params: p } = fixtureCase('pipeline-lora-sd15-two');
  const child = spawn(
    process.execPath,
    [
      ...[BIN, 'generate', '--model', await fixtureModel('tiny-sd15'), '--prompt', p.prompt],
      ...['--negative', p.negative_prompt, '--seed', `${p.seed}`, '--steps', `${p.num_inference_steps}`],
      ...['--guidance', `${p.guidance_scale}`, '--size', `${p.width}x${p.height}`],
      ...['--output', 'a.png', '--save-latents', 'a.safetensors'],
      ...loras.flatMap((lora) => ['--lora', lora]),
    ],
    { cwd: folder },
  );
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    err += text;
  });
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, err })));
}

it('adds adapters from files', async () => {
  const { params, tensors } = fixtureCase('pipeline-lora-sd15-two');
  const loras = params.loras as { name: string; scale: number }[];
  const { status, err } = await generate(...loras.map(({ name, scale }) => `${fixtureLora(name)}:${scale}`));
  expect(status).toBe(0);
  expect(err).toMatch(
    /^tiny-sd15, .*tiny-sd15-kohya\.safetensors 0\.6, .*tiny-sd15-conv\.safetensors -0\.5, 64x64,/,
  );
  const { latents } = readTensors(join(folder, 'a.safetensors'));
  expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
});

it.each([
  [`${fixtureLora('tiny-sdxl-kohya')}:0.5`, /Expected an adapter for this model but received lora_te2_/],
  [
    'nothing:0.5',
    /Expected an adapter for adapters but received "nothing": there is no such adapter in \/.+\/tiny-sd15\/loras or \//,
  ],
  ['nothing:much', /Expected a number from -100 to 100 but received "much"/],
  ['nothing:', /Expected a number from -100 to 100 but received ""/],
])('--lora %s', async (lora, message) => {
  const { status, err } = await generate(lora);
  expect(status).toBe(1);
  expect(err).toMatch(message);
});

it('adds adapters by name over HTTP, for that request alone', async () => {
  const { params: p, tensors } = fixtureCase('pipeline-lora-sd15-two');
  await mkdir(join(folder, 'loras'));
  for (const { name } of p.loras)
    await copyFile(fixtureLora(name), join(folder, 'loras', `${name}.safetensors`));
  const servers = await startServers({
    folders: new ModelFolders([folder, await fixtureModel('tiny-sd15')]),
  });
  try {
    const post = async (loras?: unknown) => {
      const body = {
        ...{
          prompt: p.prompt,
          negative_prompt: p.negative_prompt,
          seed: p.seed,
          size: `${p.width}x${p.height}`,
        },
        ...{ steps: p.num_inference_steps, guidance_scale: p.guidance_scale, loras },
      };
      const response = await fetch(`${servers.url}/v1/images/generations`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return { status: response.status, json: await response.json() };
    };
    const plain = await post();
    const { status, json } = await post(p.loras);
    expect([status, json.effective?.loras]).toEqual([200, p.loras]);
    const pixels = await sharp(Buffer.from(json.data[0].b64_json, 'base64')).raw().toBuffer();
    expect(shareBeyondOneLevel(pixels, tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    expect((await post()).json.data).toEqual(plain.json.data);
    expect((await post([{ name: 'tiny-sd15-kohya' }])).json.effective.loras[0].scale).toBe(1);
    const missing = await post([{ name: '../tiny-sd15-kohya' }]);
    expect([missing.status, missing.json.error]).toMatchObject([
      404,
      { code: 'adapter_not_found', param: 'loras' },
    ]);
    await copyFile(fixtureLora('tiny-sdxl-kohya'), join(folder, 'loras', 'other.safetensors'));
    const foreign = await post([{ name: 'other' }]);
    expect([foreign.status, foreign.json.error.code]).toEqual([422, 'checkpoint_unusable']);
  } finally {
    await servers.stop();
  }
});
