import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { call, folder, run } from '../support/command-line.ts';
import { readTensors } from '../support/safetensors.ts';

describe('preprocess', () => {
  const input = fileURLToPath(new URL('../fixtures/hints/photo.png', import.meta.url));
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
