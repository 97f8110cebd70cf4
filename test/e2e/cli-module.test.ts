import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { call, folder } from '../support/command-line.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase, fixtureModel, inputsOf } from '../support/fixtures.ts';
import { readTensors, writeTensors } from '../support/safetensors.ts';

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
