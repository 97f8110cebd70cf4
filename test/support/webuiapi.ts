import { PIXEL } from './fake-sidecar.ts';

/** A picture of one pixel. */
export const b64 = PIXEL.toString('base64');

/** What the Python client `webuiapi` sends, whatever it is asked for. */
const always = {
  ...{ styles: [], subseed: -1, subseed_strength: 0, seed_resize_from_h: 0, seed_resize_from_w: 0 },
  ...{ restore_faces: false, tiling: false, do_not_save_samples: false, do_not_save_grid: false },
  ...{
    eta: 1,
    s_churn: 0,
    s_tmax: 0,
    s_tmin: 0,
    s_noise: 1,
    override_settings: {},
    n_iter: 1,
    batch_size: 1,
  },
  ...{ override_settings_restore_afterwards: true, script_name: null, script_args: [], send_images: true },
  ...{
    save_images: false,
    alwayson_scripts: { ControlNet: { args: [] } },
    negative_prompt: '',
    cfg_scale: 7,
  },
  ...{ seed: -1, steps: 20, width: 512, height: 512, prompt: 'a fox' },
  ...{ sampler_name: 'Euler a', sampler_index: 'Euler a', scheduler: 'automatic' },
};
export const txt2img = {
  ...always,
  ...{ enable_hr: false, hr_scale: 2, hr_upscaler: 'Latent', hr_second_pass_steps: 0, hr_resize_x: 0 },
  ...{ hr_resize_y: 0, hr_checkpoint_name: null, hr_sampler_name: null, hr_scheduler: null, hr_prompt: '' },
  ...{ hr_negative_prompt: '', denoising_strength: 0.7, firstphase_width: 0, firstphase_height: 0 },
};
export const img2img = {
  ...always,
  ...{
    init_images: [`data:image/png;base64,${b64}`],
    resize_mode: 0,
    denoising_strength: 0.75,
    mask_blur: 4,
  },
  ...{ inpainting_fill: 0, inpaint_full_res: true, inpaint_full_res_padding: 0, inpainting_mask_invert: 0 },
  ...{ initial_noise_multiplier: 1, image_cfg_scale: 1.5, include_init_images: false },
};
/** A ControlNet's unit of that client's. */
export const unit = {
  ...{ image: b64, mask: null, module: 'canny', model: 'canny-net [d14c016b]', weight: 0.8 },
  ...{
    resize_mode: 'Resize and Fill',
    low_vram: false,
    processor_res: 512,
    threshold_a: 64,
    threshold_b: 64,
  },
  ...{ guidance_start: 0.1, guidance_end: 0.9, control_mode: 'My prompt is more important' },
  ...{ pixel_perfect: false, hr_option: 'Both', enabled: true },
};
