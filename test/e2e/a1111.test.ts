import sharp from 'sharp';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Servers, startServers } from '../support/servers.ts';

// A1111's routes against the real thing: what only an engine shows.

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ concurrency: 2 });
});
afterAll(() => servers.stop());

const post = async (path: string, body: object) => {
  const response = await fetch(`${servers.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, json: await response.json() };
};
const rgb = (b64: string) => sharp(Buffer.from(b64, 'base64')).removeAlpha().raw().toBuffer();

it('the text of a file comes back, with the sampler and schedule by their names there', async () => {
  const settings = { sampler_name: 'DPM++ 2M', scheduler: 'Karras', seed: 3, steps: 4, cfg_scale: 3 };
  for (const samples_format of ['png', 'jpg', 'webp']) {
    const { json } = await post('/sdapi/v1/txt2img', {
      ...{
        ...settings,
        prompt: 'red apple',
        negative_prompt: 'blue, ☃',
        override_settings: { samples_format },
      },
    });
    const info = JSON.parse(json.info);
    expect(info).toMatchObject({ seed: 3, all_seeds: [3], steps: 4, sampler_name: 'DPM++ 2M', ignored: [] });
    const read = await post('/sdapi/v1/png-info', { image: json.images[0] });
    expect(read.json.info).toBe(info.infotexts[0]);
    expect(read.json.parameters).toMatchObject({
      ...{ Prompt: 'red apple', 'Negative prompt': 'blue, ☃', Steps: '4' },
      ...{ Sampler: 'DPM++ 2M', 'Schedule type': 'Karras', RNG: 'CPU' },
    });
  }
});

it('an inverted mask leaves what the mask itself makes anew', async () => {
  const made = await post('/sdapi/v1/txt2img', { prompt: 'red apple', seed: 0, steps: 4 });
  const apple = made.json.images[0];
  const half = Buffer.alloc(64 * 64).fill(255, 0, 64 * 32);
  const mask = await sharp(half, { raw: { width: 64, height: 64, channels: 1 } })
    .png()
    .toBuffer();
  const body = { init_images: [apple], mask: mask.toString('base64'), inpaint_full_res: false, mask_blur: 0 };
  const own = await rgb(apple);
  const middle = own.length / 2;
  for (const inpainting_mask_invert of [0, 1]) {
    const { json } = await post('/sdapi/v1/img2img', {
      ...body,
      prompt: 'frog',
      steps: 4,
      inpainting_mask_invert,
    });
    const edited = await rgb(json.images[0]);
    const kept = [edited.subarray(0, middle).equals(own.subarray(0, middle))];
    kept.push(edited.subarray(middle).equals(own.subarray(middle)));
    expect(kept).toEqual(inpainting_mask_invert ? [true, false] : [false, true]);
  }
});

it('preprocessors show what they make', async () => {
  const square = await sharp({ create: { width: 32, height: 32, channels: 3, background: '#fff' } })
    .extend({ top: 16, bottom: 16, left: 16, right: 16, background: '#000' })
    .png()
    .toBuffer();
  const body = { controlnet_module: 'canny', controlnet_images: [square.toString('base64')] };
  const { json } = await post('/controlnet/detect', body);
  const edges = await rgb(json.images[0]);
  const white = edges.filter((value) => value === 255).length / 3;
  expect(edges.length).toBe(64 * 64 * 3);
  expect(white).toBeGreaterThan(100);
  expect(white).toBeLessThan(160);
  const unknown = await post('/controlnet/detect', { ...body, controlnet_module: 'openpose' });
  expect([unknown.status, unknown.json.error.param]).toEqual([400, 'controlnet_module']);
  // It shows a mask, and there is none.
  const blind = await post('/controlnet/detect', { ...body, controlnet_module: 'inpaint_only' });
  expect([blind.status, blind.json.error.param]).toEqual([400, 'controlnet_masks[0]']);
});

it('a unit makes what `control` makes', async () => {
  const made = await post('/v1/images/generations', { prompt: 'red apple', seed: 0, steps: 3 });
  const image = made.json.data[0].b64_json;
  const model = 'tiny-emoji-controlnet-canny';
  expect((await (await fetch(`${servers.url}/controlnet/model_list`)).json()).model_list).toContain(model);
  const asked = { prompt: 'pizza', seed: 1, steps: 3 };
  const control = [{ model, image, preprocessor: 'canny', scale: 0.7 }];
  const ours = await post('/v1/images/generations', { ...asked, control });
  expect(ours.json.effective.control).toMatchObject([{ model, scale: 0.7, evaluations: 6 }]);
  const unit = { model, image, module: 'canny', weight: 0.7, threshold_a: 100, threshold_b: 200 };
  const theirs = await post('/sdapi/v1/txt2img', {
    ...asked,
    alwayson_scripts: { ControlNet: { args: [unit] } },
  });
  const [one, other] = await Promise.all([rgb(ours.json.data[0].b64_json), rgb(theirs.json.images[0])]);
  expect(one.equals(other)).toBe(true);
});

it('an unknown sampler is a 404', async () => {
  const { status, json } = await post('/sdapi/v1/txt2img', { prompt: 'x', sampler_name: 'nope' });
  expect([status, json.error.code]).toEqual([404, 'sampler_not_found']);
  expect(json.detail).toMatch(/^Sampler not found/);
});
