import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { BIN, call, folder, run } from '../support/command-line.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { pictureOf } from '../support/controls.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';
import { readTensors } from '../support/safetensors.ts';

const PHOTO = fileURLToPath(new URL('../fixtures/hints/photo.png', import.meta.url));

beforeAll(() => mkdir(join(folder, 'empty')));

describe('generate', () => {
  it('gives the reference’s latents and pixels', async () => {
    const { params, tensors } = fixtureCase('pipeline-sd15-euler-batch');
    const { status, out, err } = await run(
      ...['generate', '--model', await fixtureModel('tiny-sd15'), '--prompt', params.prompt],
      ...['--seed', `${params.seed}`, '--steps', `${params.num_inference_steps}`, '--sampler', 'euler'],
      ...['--guidance', `${params.guidance_scale}`, '--size', `${params.width}x${params.height}`],
      ...[
        '--count',
        `${params.num_images_per_prompt}`,
        '--output',
        'a.png',
        '--save-latents',
        'a.safetensors',
      ],
    );
    expect([status, out]).toEqual([0, 'a-1.png\na-2.png\n']);
    expect(err).toMatch(/^tiny-sd15, 128x128, euler, 4 steps, guidance 5, seed 2\n$/);
    const { latents } = readTensors(join(folder, 'a.safetensors'));
    expect(latents!.shape).toEqual(tensors['out.latents']!.shape);
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    const files = ['a-1.png', 'a-2.png'].map((name) => sharp(join(folder, name)).raw().toBuffer());
    const pixels = Buffer.concat(await Promise.all(files));
    expect(shareBeyondOneLevel(pixels, tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
  });

  it('begins from a picture, and keeps what a mask leaves', async () => {
    const { params, tensors } = fixtureCase('pipeline-sd15-inpaint4');
    const raw = (name: string, channels: 1 | 3) =>
      sharp(Uint8Array.from(tensors[`in.${name}.0`]!.data), { raw: { width: 128, height: 128, channels } });
    await raw('image', 3).toFile(join(folder, 'photo.png'));
    await raw('mask_image', 1).toFile(join(folder, 'mask.png'));
    const { status, out } = await call(
      ...['generate', '--model', await fixtureModel('tiny-sd15'), '--prompt', params.prompt],
      ...['--seed', `${params.seed}`, '--steps', `${params.num_inference_steps}`, '--sampler', 'ddim'],
      ...['--guidance', `${params.guidance_scale}`, '--strength', `${params.strength}`],
      ...['--init-image', 'photo.png', '--mask', 'mask.png', '--output', 'painted.png', '--quiet'],
    );
    expect([status, out]).toEqual([0, 'painted.png\n']);
    const pixels = await sharp(join(folder, 'painted.png')).raw().toBuffer();
    expect(shareBeyondOneLevel(pixels, tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
  });

  it('takes ControlNets, one after the other', async () => {
    const golden = fixtureCase('pipeline-sd15-multicontrolnet');
    const { params, tensors } = golden;
    const scales = params.controlnet_conditioning_scale as unknown as number[];
    const nets = ['tiny-controlnet-sd15-canny', 'tiny-controlnet-sd15-depth'];
    const flags = [];
    for (const [i, net] of nets.entries()) {
      await writeFile(join(folder, `hint-${i}.png`), await pictureOf(golden, 'image', i));
      flags.push('--control', `model=${await fixtureModel(net)},image=hint-${i}.png,scale=${scales[i]}`);
    }
    const command = ['generate', '--model', await fixtureModel('tiny-sd15'), '--prompt', params.prompt!];
    command.push('--steps', `${params.num_inference_steps}`, '--guidance', `${params.guidance_scale}`);
    command.push('--size', '128x128', '--sampler', 'euler', '--seed', `${params.seed}`, ...flags);
    const { status, err } = await call(...command, '--output', 'c.png', '--save-latents', 'c.safetensors');
    expect([status, err]).toEqual([0, expect.stringContaining('128x128, euler, 4 steps')]);
    const { latents } = readTensors(join(folder, 'c.safetensors'));
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
  });

  it('tells Stable Diffusion XL of sizes', async () => {
    const { params, tensors } = fixtureCase('pipeline-sdxl-sizes');
    const size = ([height, width]: number[]) => `${width}x${height}`;
    const { status } = await call(
      ...['generate', '--model', await fixtureModel('tiny-sdxl'), '--prompt', params.prompt],
      ...[
        '--negative',
        params.negative_prompt,
        '--seed',
        `${params.seed}`,
        '--guidance',
        '5',
        '--steps',
        '5',
      ],
      ...['--size', `${params.width}x${params.height}`, '--clip-skip', `${params.clip_skip}`],
      ...['--original-size', size(params.original_size), '--target-size', size(params.target_size)],
      ...['--crop', params.crops_coords_top_left.toReversed().join(), '--save-latents', 'xl.safetensors'],
    );
    expect(status).toBe(0);
    const { latents } = readTensors(join(folder, 'xl.safetensors'));
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
  });

  it('needs no prompt where the model takes none', async () => {
    const dir = await fixtureModel('tiny-ldm-uncond');
    const { status, out } = await call('generate', '--model', dir, '--steps', '2', '--seed', '4');
    expect([status, out]).toEqual([0, 'latent-edge-4.png\n']);
    const refused = await call('generate', '--steps', '2');
    expect([refused.status, refused.err]).toEqual([
      1,
      expect.stringMatching(/Expected a text, which tiny-emoji-ldm needs, for prompt but/),
    ]);
  });

  it('says how much a second pass enlarges', async () => {
    const args = ['--prompt', 'x', '--steps', '1', '--seed', '1', '--hires', '1.5', '--output', 'l.png'];
    const { status, err } = await call('generate', ...args);
    expect([status, err]).toEqual([0, expect.stringContaining('tiny-emoji-ldm, 64x64 ×1.5, ddim, 1 step,')]);
    expect((await sharp(join(folder, 'l.png')).metadata()).width).toBe(96);
  });

  it('needs nothing but a prompt', async () => {
    const { status, out } = await run('generate', '--prompt', 'red apple', '--seed', '5', '--count', '2');
    expect([status, out]).toEqual([0, 'latent-edge-5-1.png\nlatent-edge-5-2.png\n']);
  });

  it('numbers files where %d says, and is quiet when told to', async () => {
    const { status, out, err } = await call(
      ...['generate', '--prompt', 'x', '--seed', '1,2', '--steps', '1', '--output', 'n%d.png', '--quiet'],
    );
    expect([status, out, err]).toEqual([0, 'n1.png\nn2.png\n', '']);
    expect(await readdir(folder)).toEqual(expect.arrayContaining(['n1.png', 'n2.png']));
  });

  it.each([
    [['--steps', '0'], 'steps'],
    [['--steps', '1e6'], 'steps'],
    [['--steps', 'NaN'], 'steps'],
    [['--guidance', 'NaN'], 'guidance'],
    [['--guidance', 'Infinity'], 'guidance'],
    [['--guidance-rescale', '2'], 'guidance-rescale'],
    [['--size', '512x'], 'size'],
    [['--size', '513x513'], 'size'],
    [['--size', '1e9x1e9'], 'size'],
    [['--count', '-1'], 'count'],
    [['--seed', '9007199254740993'], 'seed'],
    [['--seed', '-1'], 'seed'],
    [['--seed', 'abc'], 'seed'],
    [['--sampler', 'nope'], 'sampler'],
    [['--schedule', 'nope'], 'schedule'],
    [['--model', 'nope'], 'model'],
    [['--model', 'empty'], 'model'],
    [['--output', 'a.gif'], 'output'],
    [['--output', 'nowhere/a.png'], 'there is no folder nowhere'],
    [['--save-latents', 'nowhere/a.safetensors'], 'there is no folder nowhere'],
    [['--init-image', 'nope.png'], '--init-image but received "nope.png": there is no such file'],
    [['--init-image', 'empty'], '--init-image but received "empty": it is a folder'],
    [['--init-image', BIN], `--init-image ${BIN} but received something else`],
    [['--mask', 'nope.png'], '--mask but received "nope.png"'],
    [['--control', 'model=x,image=nope.png'], '--control image but received "nope.png"'],
    [['--control', 'model=x,scal=2'], 'Expected one of model, image, preprocessor, resize, scale, '],
    [['--control', 'model=x,preprocessor=canny,low=2'], 'or of canny low_threshold, high_threshold, '],
    [['--lora', 'nope/x'], '--lora but received "nope/x": there is no such file'],
    [['--lora', 'empty'], '--lora but received "empty": it is a folder'],
    [['--lora', 'nope'], 'there is no such adapter in /'],
    [['--lora', PHOTO], 'Expected safetensors but received a picture, in '],
    [['--decoder', 'nope'], 'Expected model or an AutoencoderTiny for decoder but received "nope"'],
    [['--sampler', 'lcm', '--steps', '60'], 'no more timesteps than distillation had'],
    [['--threads', '0'], 'threads'],
    [['--device', 'cuda:99'], 'cuda:99'],
  ])('%s', async (args, name) => {
    const { status, out, err } = await call('generate', '--prompt', 'x', '--steps', '1', ...args);
    expect([status, out]).toEqual([1, '']);
    expect(err).toMatch(/Expected .+ but (received|found)|Cannot open|Unknown device/);
    expect(err).toContain(name);
    expect(err).not.toMatch(/^\s+at /m);
  });
});

describe('a damaged model', () => {
  it('is named, file and field', async () => {
    await mkdir(join(folder, 'broken'), { recursive: true });
    await writeFile(join(folder, 'broken', 'model_index.json'), '{"_class_name": "StableDiffusionPipeline"}');
    const { status, err } = await call('generate', '--prompt', 'x', '--model', 'broken');
    expect(status).toBe(1);
    expect(err).toMatch(/^latent-edge: Expected .+model_index\.json/);
  });
});
