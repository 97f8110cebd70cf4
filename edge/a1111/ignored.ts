import { controlNetUnit } from './schema.ts';
import { isSetting } from './settings.ts';

/** Fields that change nothing here, with the values that ask for nothing. */
type Neutral = Readonly<Record<string, readonly unknown[]>>;

const neutral: Neutral = {
  ...{ subseed: [-1], subseed_strength: [0], seed_resize_from_h: [0, -1], seed_resize_from_w: [0, -1] },
  ...{ restore_faces: [false], tiling: [false], styles: [], image_cfg_scale: [1.5, 0] },
  ...{ s_churn: [0], s_tmax: [0], s_tmin: [0], s_noise: [1], s_min_uncond: [0] },
  ...{ initial_noise_multiplier: [1], resize_mode: [0], include_init_images: [false] },
  ...{ mask_blur_x: [4], mask_blur_y: [4], mask_round: [true], latent_mask: [] },
  ...{ hr_second_pass_steps: [0], hr_checkpoint_name: ['', 'Use same checkpoint'] },
  ...{ hr_sampler_name: ['', 'Use same sampler'], hr_scheduler: ['', 'Use same scheduler'] },
  ...{ hr_prompt: [''], hr_negative_prompt: [''], firstphase_width: [0], firstphase_height: [0] },
  // Nothing is stored, whatever is asked for of it.
  ...{ save_images: [false], do_not_save_samples: [false, true], do_not_save_grid: [false, true] },
  ...{ override_settings_restore_afterwards: [true], disable_extra_networks: [false], script_args: [] },
  ...{ firstpass_image: [], comments: [], force_task_id: [''], infotext: [''] },
};

/** Those that only count with a second pass. */
const sometimes = ['hr_second_pass_steps'];

/** The same of a ControlNet unit. Hints are made in the size that the extension calls pixel-perfect. */
const neutralOfUnit: Neutral = {
  ...{ mask: [''], mask_image: [''], effective_region_mask: [''], pixel_perfect: [false, true] },
  // What clients send who leave it as it is.
  ...{ processor_res: [-1, 0, 64, 512], low_vram: [false], lowvram: [false], guess_mode: [false] },
  ...{ hr_option: ['Both', 'both', 'HiResFixOption.BOTH', 0], inpaint_crop_input_image: [false, true] },
  ...{ save_detected_map: [false, true], loopback: [false], is_ui: [false, true], input_mode: ['simple'] },
  ...{ use_preview_as_input: [false], generated_image: [], advanced_weighting: [], batch_images: [''] },
  ...{ union_control_type: ['Unknown', 'All'], output_dir: [''] },
};

/** Names that are told of at most, and characters of each. */
const [MOST, LONGEST] = [16, 64];

/**
 * What of a request asks for something that is not here, or by a name that nobody knows.
 * @param known the fields that have an effect.
 * @param counting of `sometimes`, those that count in this one.
 */
export function ignoredFields(
  body: Record<string, unknown>,
  known: Readonly<Record<string, unknown>>,
  counting: readonly string[],
): string[] {
  const idle = sometimes.filter((name) => !counting.includes(name));
  const overridden = Object.keys((body.override_settings as object | null | undefined) ?? {});
  return [
    ...idleIn(body, neutral, { ...known, ...Object.fromEntries(idle.map((name) => [name, true])) }),
    ...overridden
      .filter((name) => !isSetting(name))
      .slice(0, MOST)
      .map((name) => `override_settings.${name.slice(0, LONGEST)}: not here`),
  ];
}

/** The same of a ControlNet unit, which stands at `at`. */
export function ignoredInUnit(unit: Record<string, unknown>, at: string): string[] {
  const picture = unit.image ?? unit.input_image;
  const within = picture instanceof Uint8Array ? undefined : (picture as { mask?: unknown } | null)?.mask;
  const { processor_res: resolution, ...rest }: Record<string, unknown> = {
    ...unit,
    mask: unit.mask ?? within,
  };
  // Pixel-perfect, it does not count there either.
  const all = unit.pixel_perfect === true ? rest : { ...rest, processor_res: resolution };
  return idleIn(all, neutralOfUnit, controlNetUnit.shape).map((line) => `${at}.${line}`);
}

function idleIn(fields: Record<string, unknown>, neutral: Neutral, known: object): string[] {
  return Object.entries(fields)
    .filter(([name, value]) => !Object.hasOwn(known, name) && !isNothing(value))
    .filter(([name, value]) => !Object.hasOwn(neutral, name) || !neutral[name]!.includes(value))
    .slice(0, MOST)
    .map(
      ([name]) =>
        `${name.slice(0, LONGEST)}: ${Object.hasOwn(neutral, name) ? 'not here' : 'not known here'}`,
    );
}

function isNothing(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
