import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { call, callWith, folder, runWith } from '../support/command-line.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { startHub } from '../support/hub.ts';

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
    const hashIn = (out: string) => /^(?:tiny|hash) .*?([0-9a-f]{64})(?: |$)/m.exec(out)![1];
    const inEightBits = { ...env, LATENT_EDGE_WEIGHTS: 'int8' };
    const kept = await callWith(inEightBits, 'models', '--hash');
    const inspected = await callWith(inEightBits, 'models', 'inspect', 'tiny', '--hash');
    expect(hashIn(kept.out)).toBe(hashIn(inspected.out));
    expect(hashIn(kept.out)).not.toBe(hashIn(listed.out));
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
