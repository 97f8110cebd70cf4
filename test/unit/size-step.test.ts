import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import { parseRequest } from '../../sidecar/engine/request.ts';
import { planRequest } from '../../sidecar/engine/request-plan/index.ts';
import { traceUnconditionalUNet, unconditionalConfig } from '../../sidecar/models/unet-unconditional.ts';
import { fixtureModel } from '../support/fixtures.ts';

test('a U-Net whose downsampling has no padding: sizes that halve evenly at each level', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'latent-edge-size-'));
  await cp(await fixtureModel('tiny-ldm-uncond'), dir, { recursive: true, dereference: true });
  const file = join(dir, 'unet', 'config.json');
  const config = JSON.parse(await readFile(file, 'utf8'));
  await writeFile(file, JSON.stringify({ ...config, downsample_padding: 0 }));
  const model = await OpenModel.open({ name: 'tiny', dir });
  await rm(dir, { recursive: true });

  const { scale } = model.latentSpace;
  const step = scale * 2 ** (config.block_out_channels.length - 1);
  const plan = (width: number) => planRequest(parseRequest({ width, height: step, steps: 1 }), {}, model);
  expect(plan(3 * step).work.shape).toEqual([3, step / scale, (3 * step) / scale]);
  expect(() => plan(24)).toThrow(
    `Expected a multiple of ${step} from ${step} to 4096 for width but received 24`,
  );

  const parsed = unconditionalConfig.parse({ ...config, downsample_padding: 0 });
  expect(() => traceUnconditionalUNet(parsed, { batch: 1, height: 8, width: 7 })).toThrow(
    'Expected an even size at down_blocks.0.downsamplers.0, as its padding is 0, but received 7x8',
  );
});
