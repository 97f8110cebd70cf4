import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../../edge/sidecar/client.ts';
import { fakeSidecar, PIXEL } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { b64, img2img, txt2img, unit } from '../../support/webuiapi.ts';

/** /sdapi/v1 and /controlnet, as clients of A1111's web UI use them. */
export function a1111(edge: () => Edge): void {
  const get = async (path: string) => (await edge().fetch(path)).json();
  const post = (path: string, body: object, init: RequestInit = {}) =>
    edge().fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      ...init,
    });
  const made = async (path: string, body: object) => {
    const sidecar = edge().use(fakeSidecar());
    const response = await post(path, body);
    expect(response.status).toBe(200);
    const { images, parameters, info } = await response.json();
    return { images, parameters, info: JSON.parse(info), request: sidecar.requests[0]! };
  };

  it('txt2img: what a client sends, and what it reads', async () => {
    const { images, parameters, info, request } = await made('/sdapi/v1/txt2img', txt2img);
    expect(request).toMatchObject({
      ...{ prompt: 'a fox', width: 512, height: 512, steps: 20, guidanceScale: 7, count: 1 },
      ...{ sampler: 'Euler a', schedule: '', hiresScale: 0, format: 'IMAGE_FORMAT_PNG' },
    });
    expect(images).toEqual([b64]);
    const seed = (request.seeds as number[])[0];
    expect(info).toMatchObject({ seed, all_seeds: [seed], prompt: 'a fox', width: 512, ignored: [] });
    expect(info.infotexts).toHaveLength(1);
    expect(parameters).toMatchObject({ prompt: 'a fox', seed: -1 });
  });

  it('txt2img: batches, seeds, LoRA, a second pass, settings', async () => {
    const { info, request } = await made('/sdapi/v1/txt2img', {
      ...txt2img,
      ...{ prompt: 'a fox <lora:one:0.5>, red <lora:two>', batch_size: 2, n_iter: 2, seed: 7 },
      ...{ scheduler: 'Karras', enable_hr: true, hr_scale: 1.5, hr_upscaler: 'Latent (bicubic)' },
      override_settings: {
        CLIP_stop_at_last_layers: 2,
        samples_format: 'jpg',
        jpeg_quality: 80,
        sd_vae: 'x',
      },
      ...{ restore_faces: true, refiner_checkpoint: 'r', refiner_switch_at: 0.7 },
    });
    expect(request).toMatchObject({
      ...{ prompt: 'a fox , red', seeds: [7, 8, 9, 10], schedule: 'Karras', clipSkip: 1, quality: 80 },
      adapters: [
        { name: 'one', scale: 0.5 },
        { name: 'two', scale: 1 },
      ],
      ...{ hiresScale: 1.5, hiresUpscaler: 'latent-bicubic', hiresStrength: 0.7 },
      ...{ refiner: 'r', refinerStart: 0.7, format: 'IMAGE_FORMAT_JPEG' },
    });
    expect(info.all_seeds).toEqual([7, 8, 9, 10]);
    expect(info.ignored).toEqual(['restore_faces: not here', 'override_settings.sd_vae: not here']);
  });

  it('models by their titles, with a hash as without', async () => {
    const { request } = await made('/sdapi/v1/txt2img', {
      ...{ ...txt2img, override_settings: { sd_model_checkpoint: 'tiny [ab01cd23ef]' } },
      ...{ refiner_checkpoint: 'r [0123456789]', refiner_switch_at: 0.7 },
    });
    expect(request).toMatchObject({ model: 'tiny', refiner: 'r' });
    const details = { code: 'model_not_found', httpStatus: 404, field: 'model' };
    edge().use(fakeSidecar({ fail: { error: new SidecarError('There is no model "x"', details) } }));
    const override_settings = { sd_model_checkpoint: 'x' };
    const response = await post('/sdapi/v1/txt2img', { ...txt2img, override_settings });
    const param = 'override_settings.sd_model_checkpoint';
    expect([response.status, (await response.json()).error.param]).toEqual([404, param]);
  });

  it("goes by the sampler's own schedule where it has no other", async () => {
    const fake = fakeSidecar();
    const { generate } = fake;
    const refuse = (schedule: string) => {
      const details = { code: 'invalid_argument', httpStatus: 400, field: 'schedule' };
      return new SidecarError(`Expected default for schedule but received "${schedule}"`, details);
    };
    fake.generate = async function* (request, options) {
      if (request.schedule) throw refuse(request.schedule);
      yield* generate(request, options);
    };
    edge().use(fake);
    const ask = (body: object, headers = {}) =>
      post('/sdapi/v1/txt2img', body, { headers: { 'content-type': 'application/json', ...headers } });
    const karras = { ...txt2img, sampler_name: 'DDIM', scheduler: 'Karras' };
    const response = await ask(karras, { 'idempotency-key': 'schedule' });
    expect(response.status).toBe(200);
    const { ignored } = JSON.parse((await response.json()).info);
    expect(ignored).toEqual(['scheduler: the sampler has one of its own']);
    const [first, second] = fake.options.map(({ idempotencyKey }) => idempotencyKey);
    expect([first, second]).toEqual([expect.stringMatching(/^[0-9a-f]{64}-own-schedule$/), undefined]);
    const unknown = await ask({ ...karras, scheduler: 'nope' });
    expect([unknown.status, (await unknown.json()).error.param]).toEqual([400, 'scheduler']);
  });

  it('names what nobody knows, and what is not here', async () => {
    const unknown = { cfgscale: 3, comments: { a: 1 }, override_settings_restore_afterwards: false };
    const { info } = await made('/sdapi/v1/txt2img', { ...txt2img, ...unknown, styles: ['one'] });
    expect(info.ignored).toEqual([
      'styles: not here',
      'override_settings_restore_afterwards: not here',
      'cfgscale: not known here',
      'comments: not here',
    ]);
    const shown = await made('/sdapi/v1/img2img', { ...img2img, include_init_images: true });
    expect(shown.info.ignored).toEqual(['include_init_images: not here']);
    const args = [
      { ...unit, enabled: false, low_vram: true },
      { ...unit, mask: b64, processor_res: 1024, hr_option: 'High res only', low_vram: true, wieght: 2 },
      { ...unit, image: { image: b64, mask: b64 }, pixel_perfect: true, processor_res: 1024 },
    ];
    const alwayson_scripts = { ControlNet: { args } };
    const steered = await made('/sdapi/v1/txt2img', { ...txt2img, alwayson_scripts });
    const second = 'alwayson_scripts.ControlNet.args[1]';
    expect(steered.info.ignored).toEqual([
      ...['mask', 'low_vram', 'hr_option'].map((name) => `${second}.${name}: not here`),
      ...[`${second}.wieght: not known here`, `${second}.processor_res: not here`],
      'alwayson_scripts.ControlNet.args[2].mask: not here',
    ]);
  });

  it.each<[string, object, number]>([
    ['of the model', { width: undefined, height: null, hr_resize_x: 128 }, 2],
    ['of one side the model', { width: 32, height: undefined, hr_resize_y: 128 }, 2],
    ['of the request', { width: 32, height: 64, hr_resize_x: 128, hr_resize_y: 256 }, 4],
    ['of a scale alone', { width: undefined, height: undefined, hr_scale: 1.5 }, 1.5],
  ])('reckons a second pass from the first: %s', async (_, body, hiresScale) => {
    const { request } = await made('/sdapi/v1/txt2img', { ...txt2img, enable_hr: true, ...body });
    expect(request.hiresScale).toBe(hiresScale);
  });

  it('img2img: a picture, and a mask', async () => {
    const plain = await made('/sdapi/v1/img2img', img2img);
    expect(plain.request).toMatchObject({ strength: 0.75, keepUnmasked: false });
    expect(plain.request).not.toHaveProperty('onlyMaskedPadding');
    expect(PIXEL.equals(plain.request.initImage as Uint8Array)).toBe(true);
    expect([plain.info.ignored, plain.parameters.init_images]).toEqual([[], null]);
    const masked = await made('/sdapi/v1/img2img', { ...img2img, mask: b64, inpaint_full_res_padding: 32 });
    expect(masked.request).toMatchObject({
      ...{ maskChannel: 'luminance', maskBlur: 4, onlyMaskedPadding: 32, keepUnmasked: true },
    });
    expect(masked.info.ignored).toEqual([]);
    const whole = { inpaint_full_res: false, inpainting_mask_invert: 1, inpainting_fill: 1 };
    const inverted = await made('/sdapi/v1/img2img', { ...img2img, mask: b64, ...whole });
    expect(inverted.request).toMatchObject({ maskChannel: 'darkness' });
    expect(inverted.request).not.toHaveProperty('onlyMaskedPadding');
    expect(inverted.info.ignored).toEqual([]);
  });

  it.each([
    [{}, 'fill'],
    [{ inpainting_fill: 0 }, 'fill'],
    [{ inpainting_fill: 1 }, 'original'],
    [{ inpainting_fill: 2 }, 'latent-noise'],
    [{ inpainting_fill: 3, denoising_strength: 1 }, 'latent-nothing'],
    // The default asks for nothing where nothing is left of the picture.
    [{ inpainting_fill: 0, denoising_strength: 1 }, ''],
  ])('what the mask covers begins from: %j', async (fields, maskedContent) => {
    const { request, info } = await made('/sdapi/v1/img2img', { ...img2img, mask: b64, ...fields });
    expect([request.maskedContent, info.ignored]).toEqual([maskedContent, []]);
  });

  it.each(['ControlNet', 'controlnet'])('units of %s', async (script) => {
    const args = [
      unit,
      { ...unit, enabled: false },
      { model: 'b', input_image: { image: b64 }, control_mode: 2 },
    ];
    const { request } = await made('/sdapi/v1/txt2img', {
      ...txt2img,
      alwayson_scripts: { [script]: { args } },
    });
    expect(request.control).toMatchObject([
      {
        ...{ model: 'canny-net', preprocessor: 'canny', scale: [0.8], start: 0.1, end: 0.9 },
        ...{ resize: 'fit', mode: 'prompt', preprocessorOptions: { low_threshold: 64, high_threshold: 64 } },
      },
      { model: 'b', mode: 'control', resize: 'crop', scale: [1], preprocessorOptions: {} },
    ]);
    expect(request.control!.map(({ image }) => PIXEL.equals(image as Uint8Array))).toEqual([true, true]);
  });

  it.each([
    [{ resize_mode: 0 }, 'stretch'],
    [{ resize_mode: 'Just Resize' }, 'stretch'],
    [{ resize_mode: 'Crop and Resize' }, 'crop'],
    [{ resize_mode: 'Scale to Fit (Inner Fit)' }, 'crop'],
    [{ resize_mode: 'Inner Fit (Scale to Fit)' }, 'crop'],
    [{ resize_mode: 2 }, 'fit'],
    [{ resize_mode: 'Envelope (Outer Fit)' }, 'fit'],
    [{ resize_mode: 'Outer Fit (Shrink to Fit)' }, 'fit'],
  ])('a unit fits as %j says', async (fields, resize) => {
    const alwayson_scripts = { ControlNet: { args: [{ ...unit, ...fields }] } };
    const { request } = await made('/sdapi/v1/txt2img', { ...txt2img, alwayson_scripts });
    expect(request.control).toMatchObject([{ resize }]);
  });

  it('sliders out of range are the defaults', async () => {
    const args = [{ ...unit, threshold_a: -1, threshold_b: 9999 }];
    const { request } = await made('/sdapi/v1/txt2img', {
      ...txt2img,
      alwayson_scripts: { controlnet: { args } },
    });
    expect(request.control).toMatchObject([{ preprocessorOptions: {} }]);
  });

  describe('progress', () => {
    it('of the own run, with its picture, until it is interrupted', async () => {
      edge().use(fakeSidecar({ steps: 1000, stepMs: 10 }));
      expect(await get('/sdapi/v1/progress')).toMatchObject({ progress: 0, state: { job_count: 0 } });
      const running = post('/sdapi/v1/txt2img', { ...txt2img, steps: 1000 });
      await expect
        .poll(async () => (await get('/sdapi/v1/progress')).current_image, { timeout: 5000 })
        .toBe(b64);
      // As Python's requests writes it.
      expect(await get('/sdapi/v1/progress?skip_current_image=True')).toMatchObject({ current_image: null });
      const { progress, state, eta_relative } = await get('/sdapi/v1/progress?skip_current_image=true');
      expect(progress).toBeGreaterThan(0);
      expect(eta_relative).toBeGreaterThan(0);
      expect(state).toMatchObject({ sampling_steps: 1000, job_count: 1, interrupted: false });
      expect(await (await post('/sdapi/v1/interrupt', {})).json()).toEqual({});
      const response = await running;
      expect(response.status).toBe(200);
      expect((await response.json()).images).toEqual([b64]);
      await expect.poll(() => edge().sidecar.cancelled).toBe(1);
      expect(await get('/sdapi/v1/progress')).toMatchObject({ progress: 0, current_image: null });
    });
  });

  it('options: the model of the caller', async () => {
    edge().use(fakeSidecar());
    expect(await get('/sdapi/v1/options')).toMatchObject({ sd_model_checkpoint: 'tiny' });
    const unknown = await post('/sdapi/v1/options', { sd_model_checkpoint: 'nope' });
    expect([unknown.status, (await unknown.json()).error.param]).toEqual([404, 'sd_model_checkpoint']);
    expect(await (await post('/sdapi/v1/options', { sd_model_checkpoint: 'tiny [abc]' })).json()).toBeNull();
    const { request } = await made('/sdapi/v1/txt2img', txt2img);
    expect(request.model).toBe('tiny');
  });

  it('options: of later requests, unless these have their own', async () => {
    edge().use(fakeSidecar());
    const choose = async (body: object) => (await post('/sdapi/v1/options', body)).json();
    expect(await choose({ CLIP_stop_at_last_layers: 3, samples_format: 'jpg', jpeg_quality: 70 })).toBeNull();
    expect(await get('/sdapi/v1/options')).toMatchObject({
      ...{ CLIP_stop_at_last_layers: 3, samples_format: 'jpg', jpeg_quality: 70 },
    });
    const chosen = await made('/sdapi/v1/txt2img', txt2img);
    expect(chosen.request).toMatchObject({ clipSkip: 2, format: 'IMAGE_FORMAT_JPEG', quality: 70 });
    expect(chosen.info.ignored).toEqual([]);
    const override_settings = { samples_format: 'webp', CLIP_stop_at_last_layers: 1 };
    const own = await made('/sdapi/v1/txt2img', { ...txt2img, override_settings });
    expect(own.request).toMatchObject({ clipSkip: 0, format: 'IMAGE_FORMAT_WEBP', quality: 70 });
    for (const [name, value] of [
      ['CLIP_stop_at_last_layers', 13],
      ['samples_format', 'gif'],
      ['jpeg_quality', 101],
    ] as const)
      expect((await choose({ [name]: value })).error.param).toBe(name);
    // All of them back, as clients do, and one that is not here.
    await choose({ ...(await get('/sdapi/v1/options')), samples_format: 'png', CLIP_stop_at_last_layers: 1 });
    expect((await made('/sdapi/v1/txt2img', txt2img)).info.ignored).toEqual([]);
    await choose({ eta_noise_seed_delta: 31337 });
    const { info, request } = await made('/sdapi/v1/txt2img', txt2img);
    expect(info.ignored).toEqual(['options.eta_noise_seed_delta: not here']);
    expect(request).toMatchObject({ clipSkip: 0, format: 'IMAGE_FORMAT_PNG' });
  });

  it('lists', async () => {
    edge().use(fakeSidecar());
    expect(await get('/sdapi/v1/sd-models')).toMatchObject([
      { title: 'tiny', model_name: 'tiny', hash: 'ab'.repeat(5), sha256: null },
    ]);
    const samplers = await get('/sdapi/v1/samplers');
    expect(samplers.map(({ name }: { name: string }) => name)).toEqual([
      'DDIM',
      'Euler',
      'Euler a',
      'DPM++ 2M',
    ]);
    expect(samplers[2]).toEqual({
      ...{ name: 'Euler a', aliases: ['euler-ancestral', 'Euler a', 'k_euler_a'], options: {} },
    });
    expect(await get('/sdapi/v1/schedulers')).toMatchObject([
      { name: 'automatic', label: 'Automatic' },
      { name: 'karras', label: 'Karras' },
    ]);
    expect(await get('/sdapi/v1/loras')).toMatchObject([{ name: 'l' }]);
    expect(await get('/sdapi/v1/embeddings')).toMatchObject({
      ...{ loaded: { word: { shape: 768, vectors: 2, sd_checkpoint: null } }, skipped: {} },
    });
    expect(await get('/sdapi/v1/upscalers')).toMatchObject([{ name: 'Lanczos' }, { name: 'None' }]);
    expect(await get('/sdapi/v1/latent-upscale-modes')).toContainEqual({ name: 'Latent' });
    // By the second, webuiapi knows that the extension is there.
    const scripts = ['controlnet', 'controlnet m2m'];
    expect(await get('/sdapi/v1/scripts')).toEqual({ txt2img: scripts, img2img: scripts });
    expect((await get('/sdapi/v1/memory')).ram).toEqual({ total: 8e9, used: 3e9, free: 5e9 });
    for (const name of ['cmd-flags', 'sd-vae', 'face-restorers', 'hypernetworks', 'prompt-styles'])
      expect((await edge().fetch(`/sdapi/v1/${name}`)).status).toBe(200);
    expect(await (await post('/sdapi/v1/refresh-checkpoints', {})).json()).toBeNull();
  });

  it('ControlNet: models, modules and what a module sees', async () => {
    const sidecar = edge().use(fakeSidecar());
    expect(await get('/controlnet/version')).toEqual({ version: 3 });
    expect(await get('/controlnet/model_list')).toEqual({ model_list: [] });
    expect(await get('/controlnet/module_list')).toMatchObject({ module_list: ['canny'] });
    const response = await post('/controlnet/detect', {
      ...{ controlnet_module: 'canny', controlnet_images: [b64, b64], controlnet_processor_res: 512 },
      ...{ controlnet_threshold_a: 10, controlnet_threshold_b: 64 },
    });
    expect(await response.json()).toEqual({ images: [b64, b64], info: 'Success' });
    expect(sidecar.preprocessed).toHaveLength(2);
    const { control_types } = await get('/controlnet/control_types');
    expect(control_types.Canny).toEqual({
      ...{ module_list: ['none', 'canny'], model_list: ['None'] },
      ...{ default_option: 'canny', default_model: 'None' },
    });
    expect(control_types.All.module_list).toEqual(['canny']);
    const newer = { controlnet_module: 'canny', controlnet_input_images: [b64], controlnet_masks: [b64] };
    expect((await (await post('/controlnet/detect', newer)).json()).images).toEqual([b64]);
    expect(PIXEL.equals(sidecar.preprocessed[2]!.mask as Uint8Array)).toBe(true);
    const none = await post('/controlnet/detect', { controlnet_module: 'canny' });
    expect([none.status, (await none.json()).error.param]).toEqual([400, 'controlnet_input_images']);
    expect(sidecar.preprocessed[0]).toMatchObject({
      ...{ preprocessor: 'canny', preprocessorOptions: { low_threshold: 10, high_threshold: 64 } },
    });
  });

  it('png-info: nothing, where there is nothing', async () => {
    const response = await post('/sdapi/v1/png-info', { image: b64 });
    expect(await response.json()).toEqual({ info: '', items: {}, parameters: {} });
  });

  describe('errors', () => {
    it.each<[string, string, object, number, string | null]>([
      ['no init image', 'img2img', { init_images: [] }, 404, null],
      ['two init images', 'img2img', { init_images: [b64, b64] }, 400, 'init_images'],
      ['no picture', 'img2img', { init_images: ['hello!'] }, 400, 'init_images[0]'],
      ['a script', 'txt2img', { script_name: 'x/y/z plot' }, 422, 'script_name'],
      [
        'another script',
        'txt2img',
        { alwayson_scripts: { ADetailer: { args: [] } } },
        422,
        'alwayson_scripts',
      ],
      ['steps 0', 'txt2img', { steps: 0 }, 400, 'steps'],
      ['17 images', 'txt2img', { batch_size: 16, n_iter: 2 }, 400, 'n_iter'],
      ['an upscaler', 'txt2img', { enable_hr: true, hr_upscaler: 'R-ESRGAN 4x+' }, 400, 'hr_upscaler'],
      ['a scale of a LoRA', 'txt2img', { prompt: '<lora:a:b>' }, 400, 'prompt'],
      ['a width of text', 'txt2img', { width: 'wide' }, 400, 'width'],
    ])('%s', async (_, route, body, status, param) => {
      const sidecar = edge().use(fakeSidecar());
      const response = await post(`/sdapi/v1/${route}`, {
        ...(route === 'img2img' ? img2img : txt2img),
        ...body,
      });
      const { error, detail } = await response.json();
      expect([response.status, error.param]).toEqual([status, param]);
      expect(detail).toBe(error.message);
      expect(sidecar.requests).toEqual([]);
    });

    it.each([
      [{ ...unit, image: 'hello!' }, 'image'],
      [{ ...unit, control_mode: 'loud' }, 'control_mode'],
      [{ ...unit, resize_mode: 9 }, 'resize_mode'],
      [{ ...unit, weight: 'b' }, 'weight'],
    ])('units, by their field: %#', async (bad, field) => {
      edge().use(fakeSidecar());
      const alwayson_scripts = { ControlNet: { args: [unit, bad] } };
      const response = await post('/sdapi/v1/txt2img', { ...txt2img, alwayson_scripts });
      const { error } = await response.json();
      expect([response.status, error.param]).toEqual([400, `alwayson_scripts.ControlNet.args[1].${field}`]);
    });

    it('an unknown sampler is a 404', async () => {
      const details = { code: 'invalid_argument', httpStatus: 400, field: 'sampler' };
      edge().use(fakeSidecar({ fail: { error: new SidecarError('Expected one of …', details) } }));
      const response = await post('/sdapi/v1/txt2img', { ...txt2img, sampler_name: 'nope' });
      const { error, detail } = await response.json();
      expect([response.status, error.code]).toEqual([404, 'sampler_not_found']);
      expect(detail).toMatch(/^Sampler not found/);
    });

    it.each(['txt2img', 'img2img', 'options', 'png-info'])('no JSON for %s', async (route) => {
      edge().use(fakeSidecar());
      const broken = await post(`/sdapi/v1/${route}`, {}, { body: '{"prompt":' });
      expect(broken.status).toBe(400);
      expect(await broken.json()).toHaveProperty('error.message');
      const other = await post(`/sdapi/v1/${route}`, {}, { headers: { 'content-type': 'text/plain' } });
      expect(other.status).toBe(415);
    });
  });
}
