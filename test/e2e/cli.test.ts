import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { pictureOf } from '../support/controls.ts';
import { fixtureCase, fixtureModel, inputsOf } from '../support/fixtures.ts';
import { startHub } from '../support/hub.ts';
import { readTensors, writeTensors } from '../support/safetensors.ts';

// The command line as it is built: some commands as processes of their own, which take a second to begin, most without.

const BIN = fileURLToPath(new URL('../../sidecar/bin/latent-edge.mjs', import.meta.url));
const PHOTO = fileURLToPath(new URL('../fixtures/hints/photo.png', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/sidecar/cli/index.js', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  await mkdir(join(folder, 'empty'));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (...args: string[]) => runWith({}, ...args);

function runWith(
  env: Record<string, string>,
  ...args: string[]
): Promise<{ status: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: folder, env: { ...process.env, ...env } });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk) => out.push(chunk));
    child.stderr.on('data', (chunk) => err.push(chunk));
    child.on('close', (status) =>
      resolve({ status, out: `${Buffer.concat(out)}`, err: `${Buffer.concat(err)}` }),
    );
  });
}

/** The same without a process of its own, which takes a second to begin. */
const call = (...args: string[]) => callWith({}, ...args);

async function callWith(
  env: Record<string, string>,
  ...args: string[]
): Promise<{ status: number; out: string; err: string }> {
  const { main } = await import(pathToFileURL(BUILT).href);
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockReturnValue(true),
  );
  // Tests' own console does not write to the process's streams.
  const [log, error] = (['log', 'error'] as const).map((name) =>
    vi.spyOn(console, name).mockImplementation((line) => {
      (name === 'log' ? process.stdout : process.stderr).write(`${line}\n`);
    }),
  );
  const [cwd, exitCode] = [process.cwd(), process.exitCode];
  process.chdir(folder);
  process.exitCode = undefined;
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    const status = await main(args);
    const [out, err] = spies.map(({ mock }) => mock.calls.map(([chunk]) => `${chunk}`).join(''));
    return { status, out: out!, err: err! };
  } finally {
    vi.unstubAllEnvs();
    process.chdir(cwd);
    process.exitCode = exitCode;
    for (const spy of [...spies, log!, error!]) spy.mockRestore();
  }
}

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

describe('preprocess', () => {
  const input = PHOTO;
  const pixels = (file: string) => sharp(file).removeAlpha().raw().toBuffer();

  it('makes a hint, as a picture and as a tensor', async () => {
    const size = ['--size', '96x96', '--resize', 'fit', '--option', 'low_threshold=60'];
    const png = await run('preprocess', 'Canny', '--image', input, ...size, '--output', 'edges.png');
    expect(png).toEqual({ status: 0, out: 'edges.png\n', err: '' });
    await call('preprocess', 'canny', '--image', input, ...size, '--output', 'edges.safetensors');
    const { controlnet_cond: hint } = readTensors(join(folder, 'edges.safetensors'));
    expect(hint!.shape).toEqual([1, 3, 96, 96]);
    const red = (await pixels(join(folder, 'edges.png'))).filter((_, i) => i % 3 === 0);
    expect(Float32Array.from(red, (value) => value / 255)).toEqual(hint!.data.subarray(0, 96 * 96));
    expect(red.includes(255)).toBe(true);
  });

  it('turns pictures as EXIF says, and takes gray ones of 16 bits with alpha', async () => {
    const gray = { create: { width: 8, height: 16, channels: 4, background: '#ff000080' } } as const;
    await sharp(gray).toColourspace('grey16').png().toFile(join(folder, 'gray.png'));
    await sharp(gray)
      .removeAlpha()
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toFile(join(folder, 'turned.jpg'));
    for (const [image, width] of [
      ['gray.png', 8],
      ['turned.jpg', 16],
    ] as const) {
      const { status } = await call('preprocess', 'gray', '--image', image, '--output', 'g.png');
      expect([status, (await sharp(join(folder, 'g.png')).metadata()).width]).toEqual([0, width]);
    }
  });

  it('says that a PNG has no −1', async () => {
    const mask = ['--mask', input, '--output', 'masked.png'];
    const { status, err } = await call('preprocess', 'inpaint', '--image', input, ...mask);
    expect([status, err]).toEqual([0, 'masked.png: black where the hint is −1, which a PNG cannot hold\n']);
    const clear = Uint8Array.from([9, 9, 9, 255, 9, 9, 9, 0]);
    await sharp(clear, { raw: { width: 2, height: 1, channels: 4 } }).toFile(join(folder, 'clear.png'));
    await call('preprocess', 'inpaint', '--image', 'clear.png', '--output', 'masked.safetensors');
    const { controlnet_cond: hint } = readTensors(join(folder, 'masked.safetensors'));
    const seen = Math.fround(9 / 255);
    expect([...hint!.data]).toEqual([seen, -1, seen, -1, seen, -1]);
  });

  it('lists what there is, and refuses the rest', async () => {
    const { status, out } = await call('preprocess', '--list');
    expect(status).toBe(0);
    expect(out).toMatch(/^canny: .*\n {2}low_threshold=100 \(0 to 2048\): /m);
    const refusals: [string[], RegExp][] = [
      [['cany'], /^latent-edge: Expected one of none, canny, .* for preprocessor but received "cany"\n$/],
      [['canny', '--option', 'low_threshold=-1'], /from 0 to 2048 for preprocessor_options\.low_threshold/],
      [['canny', '--option', 'low_threshold'], /Expected NAME=NUMBER/],
      [['gray', '--image', 'nope.png', '--output', 'a.png'], /--image but received "nope.png": there is no/],
      [['inpaint', '--image', input, '--output', 'a.png'], /Expected --mask but received nothing/],
    ];
    for (const [args, expected] of refusals) {
      const { status, err } = await call('preprocess', ...args);
      expect([status, err]).toEqual([1, expect.stringMatching(expected)]);
    }
  });
});

describe('doctor', () => {
  // Cases of all ops take seconds, and need no GPU: that there is none is said first.
  it('finds no fault where no GPU was asked for, and one where it was', async () => {
    const { checkUp } = await import('../../sidecar/doctor/check-up.ts');
    const findings = [];
    for await (const finding of checkUp()) {
      findings.push(finding);
      if (findings.length === 2) break;
    }
    const asked = await call('doctor', '--device', 'cuda:99');
    expect([asked.status, asked.out]).toEqual([
      1,
      expect.stringMatching(/^FAIL GPU: Unknown device "cuda:99"/m),
    ]);
    if (findings[1]!.name !== 'GPU') return;
    expect(findings[1]).toMatchObject({
      ok: true,
      detail: expect.stringMatching(/^none, so the CPU computes/),
    });
    expect(findings[1]!.detail).not.toContain('Unknown device');
  });
});

describe('module', () => {
  const cases: [string, string, string, string[]][] = [
    ['text_encoder', 'text-clip-l', 'tiny-sd15', ['last_hidden_state', 'penultimate', 'pooler_output']],
    ['text_encoder_2', 'text-clip-g', 'tiny-sdxl', ['last_hidden_state', 'penultimate', 'text_embeds']],
    ['unet', 'unet-sd15', 'tiny-sd15', ['sample']],
    ['unet', 'unet-sd15-inpaint', 'tiny-sd15-inpaint', ['sample']],
    ['unet', 'unet-sdxl', 'tiny-sdxl', ['sample']],
    ['unet', 'ldm-uncond-unet', 'tiny-ldm-uncond', ['sample']],
    ['vae.encode', 'vae', 'tiny-sd15', ['mean', 'logvar']],
    ['vae.decode', 'vae', 'tiny-sd15', ['image']],
    ['vae.encode', 'vae-sdxl', 'tiny-sdxl', ['mean', 'logvar']],
    ['vae.decode', 'vae-sdxl', 'tiny-sdxl', ['image']],
    ['taesd.encode', 'taesd', 'tiny-taesd', ['latents']],
    ['taesd.decode', 'taesd', 'tiny-taesd', ['image']],
    ['vqvae.decode', 'ldm-vq', 'tiny-ldm-uncond', ['image']],
  ];
  it.each(cases)('%s: %s', async (component, name, model, outputs) => {
    const { tensors } = fixtureCase(name);
    await writeTensors(join(folder, 'in.safetensors'), inputsOf(tensors));
    const dir = await fixtureModel(model);
    const { status, err } = await call('module', dir, component, 'in.safetensors', 'out.safetensors');
    expect([status, err]).toEqual([0, '']);
    const out = readTensors(join(folder, 'out.safetensors'));
    expect(Object.keys(out).sort()).toEqual(outputs.sort());
    for (const output of outputs) {
      const expected = tensors[`out.${output}`]!;
      expect(out[output]!.shape).toEqual(expected.shape);
      expect(relativeL2(out[output]!.data, expected.data)).toBeLessThanOrEqual(1e-5);
    }
  });

  it('says what is wrong', async () => {
    const dir = await fixtureModel('tiny-sd15');
    writeTensors(join(folder, 'none.safetensors'), {});
    await writeFile(join(folder, 'bad.safetensors'), 'PK\x03\x04 not this');
    const messages = [await call('module', dir, 'nope', 'none.safetensors', 'o.safetensors')];
    for (const [model, file] of [
      [dir, 'none'],
      [dir, 'bad'],
      [dir, 'missing'],
      [folder, 'none'],
    ])
      messages.push(await call('module', model!, 'unet', `${file}.safetensors`, 'o.safetensors'));
    expect(messages.map(({ status }) => status)).toEqual([1, 1, 1, 1, 1]);
    expect(messages[0]!.err).toMatch(
      /Expected one of text_encoder, text_encoder_2, unet, .+ but received "nope"/,
    );
    expect(messages[1]!.err).toMatch(/Expected a tensor sample but received none/);
    expect(messages[2]!.err).toMatch(/bad\.safetensors/);
    expect(messages[3]!.err).toMatch(/missing\.safetensors/);
    expect(messages[4]!.err).toMatch(/model_index\.json/);
  });
});

describe('models', () => {
  it('pulls one from a hub, which can be named at once', async () => {
    const source = await fixtureModel('tiny-sd15');
    const paths = (await readdir(source, { recursive: true })).filter((path) => /\.\w+$/.test(path));
    const bytes = await Promise.all(paths.map((path) => readFile(join(source, path))));
    const repository = Object.fromEntries(paths.map((path, i) => [path, bytes[i]!]));
    const hub = await startHub({ 'owner/tiny@v1': repository }, { token: 'secret' });
    const env = { HF_ENDPOINT: hub.url, LATENT_EDGE_MODELS: join(folder, 'store') };
    const refused = await callWith(env, 'models', 'pull', 'owner/tiny');
    expect([refused.status, refused.out]).toEqual([1, '']);
    expect(refused.err).toMatch(/^latent-edge: Expected access to owner\/tiny on .+ status 401: .+ HF_TOKEN/);

    const pulling = { ...env, HF_TOKEN: 'secret' };
    const pulled = await runWith(pulling, 'models', 'pull', 'owner/tiny', '--revision', 'v1');
    await hub.stop();
    expect(pulled).toEqual({ status: 0, out: `${join(folder, 'store', 'tiny')}\n`, err: '' });
    const listed = await callWith(env, 'models', '--hash');
    expect(listed.out).toMatch(/^tiny +latent-diffusion +sd1 +\d+ MB +[0-9a-f]{64} +128x128, 50 steps/m);
    const made = await runWith(
      env,
      ...['generate', '--model', 'tiny', '--prompt', 'x', '--steps', '1', '--size', '64x64', '--quiet'],
    );
    expect(made).toMatchObject({ status: 0, out: expect.stringMatching(/^latent-edge-\d+\.png\n$/) });
    expect(made.err).toMatch(/^seed \d+\n$/);
  });

  it('inspects one, or says what is wrong with it', async () => {
    const xl = await call('models', 'inspect', await fixtureModel('tiny-sdxl'), '--json', '--hash');
    const { components, hash, ...rest } = JSON.parse(xl.out);
    expect(rest).toMatchObject({ kind: 'text-to-image-xl', family: 'sdxl', scheduler: 'euler' });
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(components.map(({ name }: { name: string }) => name)).toEqual([
      ...['text_encoder', 'text_encoder_2', 'unet', 'vae'],
    ]);
    const { out } = await call('models', 'inspect', 'tiny-emoji-ldm', '--hash');
    expect(out).toMatch(/^unet +UNet2DConditionModel, 6,025,572 parameters, F16, 12 MB$/m);
    expect(out).toMatch(/^hash +[0-9a-f]{64}$/m);

    const canny = await call('models', 'inspect', 'tiny-emoji-controlnet-canny', '--hash');
    expect(canny.out).toMatch(/^kind +controlnet \(sd1\)$/m);
    expect(canny.out).toMatch(/^controlnet +ControlNetModel, 2,\d{3},\d{3} parameters, F16, 5 MB$/m);
    expect(canny.out).toMatch(/^hash +[0-9a-f]{64}$/m);
    const taesd = await call('models', 'inspect', await fixtureModel('tiny-taesd'), '--json');
    expect(JSON.parse(taesd.out)).toMatchObject({ kind: 'autoencoder', family: 'taesd' });

    const dir = await fixtureModel('tiny-sd15');
    await cp(dir, join(folder, 'lacking'), { recursive: true, dereference: true });
    await rm(join(folder, 'lacking', 'unet', 'config.json'));
    await writeFile(join(folder, 'text.safetensors'), 'no tensors');
    const wrong = [];
    for (const model of ['lacking', 'text.safetensors', 'nope'])
      wrong.push(await call('models', 'inspect', model));
    expect(wrong.map(({ status }) => status)).toEqual([1, 1, 1]);
    const listed = await call('models', '--model', 'lacking');
    expect(listed.err).toMatch(/^lacking cannot be read: latent-edge models inspect .+lacking says why$/m);
    expect(wrong[0]!.err).toMatch(/lacking\/unet\/config\.json/);
    expect(wrong[1]!.err).toMatch(/Expected .+ but received .+text\.safetensors/);
    expect(wrong[2]!.err).toMatch(/Expected one of .*tiny-emoji-ldm.* for model but received "nope"/);
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

it('lists models and devices', async () => {
  const [models, devices] = await Promise.all([run('models'), run('devices')]);
  expect(models.out).toMatch(/\(default\)/);
  expect(devices.out).toMatch(/^cpu +.+threads/m);
});

it('helps', async () => {
  const { status, out } = await run('--help');
  expect(status).toBe(0);
  for (const command of ['serve', 'generate', 'module', 'devices', 'models']) expect(out).toContain(command);
  expect((await call()).status).toBe(1);
});
