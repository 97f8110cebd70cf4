/** Fields that change nothing here, and the values that ask for nothing. */
const neutral: Record<string, readonly unknown[]> = {
  ...{ subseed: [-1], subseed_strength: [0], seed_resize_from_h: [0, -1], seed_resize_from_w: [0, -1] },
  ...{ restore_faces: [false], tiling: [false], styles: [], image_cfg_scale: [1.5, 0] },
  ...{ s_churn: [0], s_tmax: [0], s_tmin: [0], s_noise: [1], s_min_uncond: [0] },
  ...{
    initial_noise_multiplier: [1],
    resize_mode: [0],
    inpainting_fill: [1],
    mask_blur_x: [4],
    mask_blur_y: [4],
  },
  ...{ hr_second_pass_steps: [0], hr_checkpoint_name: ['', 'Use same checkpoint'], save_images: [false] },
  ...{ hr_sampler_name: ['', 'Use same sampler'], hr_scheduler: ['', 'Use same scheduler'] },
  ...{ hr_prompt: [''], hr_negative_prompt: [''], firstphase_width: [0], firstphase_height: [0] },
};

/** Those that only count with a mask, or with a second pass. */
const sometimes = ['inpainting_fill', 'hr_second_pass_steps'];

/** Settings that have an effect. */
const settings = new Set([
  'sd_model_checkpoint',
  'CLIP_stop_at_last_layers',
  'samples_format',
  'jpeg_quality',
]);

/**
 * What of a request asks for something that is not here.
 * @param counting of `sometimes`, those that count in this one.
 */
export function ignoredFields(body: Record<string, unknown>, counting: readonly string[]): string[] {
  const asked = (name: string, values: readonly unknown[]) => {
    const value = body[name];
    if (value === undefined || value === null || values.includes(value)) return false;
    if (Array.isArray(value)) return value.length > 0;
    return !sometimes.includes(name) || counting.includes(name);
  };
  const overridden = Object.keys((body.override_settings as object | null | undefined) ?? {});
  return [
    ...Object.entries(neutral).flatMap(([name, values]) =>
      asked(name, values) ? [`${name}: not here`] : [],
    ),
    ...overridden.filter((name) => !settings.has(name)).map((name) => `override_settings.${name}: not here`),
  ];
}
