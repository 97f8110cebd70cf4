import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  parsePythonJson,
  resolveSampler,
  type SamplerRequest,
  samplers,
} from '../../sidecar/samplers/index.ts';

const PNDM = {
  _class_name: 'PNDMScheduler',
  _diffusers_version: '0.6.0',
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
};

const resolve = (request: Partial<SamplerRequest>) =>
  resolveSampler({ checkpointConfig: PNDM, file: 'scheduler_config.json', ...request });

describe('names', () => {
  test('with none, the checkpoint decides', () => {
    for (const { name, className, fixed } of samplers) {
      expect(resolve({ checkpointConfig: { _class_name: className, ...fixed } }).name).toBe(name);
    }
    const odd = { _class_name: 'DPMSolverMultistepScheduler', solver_order: 1 };
    expect(resolve({ checkpointConfig: odd }).name).toBe('dpmpp-2m');
  });

  test.each([
    ['Euler a', 'euler-ancestral', 'default'],
    ['EulerAncestralDiscreteScheduler', 'euler-ancestral', 'default'],
    ['k_euler_ancestral', 'euler-ancestral', 'default'],
    ['EULER', 'euler', 'default'],
    ['k_euler', 'euler', 'default'],
    ['euler-karras', 'euler', 'karras'],
    ['PLMS', 'pndm', 'default'],
    ['DDIM', 'ddim', 'default'],
    ['DPM++ 2M', 'dpmpp-2m', 'default'],
    ['DPM++ 2M Karras', 'dpmpp-2m', 'karras'],
    ['dpmpp_2m', 'dpmpp-2m', 'default'],
    ['dpmpp-2m-exponential', 'dpmpp-2m', 'exponential'],
    ['DPM++ 2M SGM Uniform', 'dpmpp-2m', 'sgm-uniform'],
    ['DPM++ 2M SDE', 'dpmpp-2m-sde', 'default'],
    ['dpmpp_2m_sde_gpu', 'dpmpp-2m-sde', 'default'],
    ['DPM++ 2M SDE Heun Karras', 'dpmpp-2m-sde-heun', 'karras'],
    ['DPM++ 3M SDE Exponential', 'dpmpp-3m-sde', 'exponential'],
    ['DPM++ SDE Karras', 'dpmpp-sde', 'karras'],
    ['DPMSolverSinglestepScheduler', 'dpmpp-2s', 'default'],
    ['DPMSolverMultistep', 'dpmpp-2m', 'default'],
    ['LMS Karras', 'lms', 'karras'],
    ['Heun', 'heun', 'default'],
    ['DPM2', 'kdpm2', 'default'],
    ['DPM2 a Karras', 'kdpm2-ancestral', 'karras'],
    ['dpm_2_ancestral', 'kdpm2-ancestral', 'default'],
    ['KDPM2AncestralDiscreteScheduler', 'kdpm2-ancestral', 'default'],
    ['uni_pc', 'unipc', 'default'],
    ['UniPC Align Your Steps', 'unipc', 'ays'],
    ['Euler Beta', 'euler', 'beta'],
    ['euler normal', 'euler', 'default'],
    ['deis', 'deis', 'default'],
    ['ddpm', 'ddpm', 'default'],
    ['LCM', 'lcm', 'default'],
    ['TCDScheduler', 'tcd', 'default'],
  ])('%s is %s, %s', (name, canonical, schedule) => {
    expect(resolve({ name })).toMatchObject({ name: canonical, schedule });
  });

  test('no spelling stands for two samplers', () => {
    const plain = (name: string) => name.toLowerCase().replaceAll('+', 'p').replace(/[ _-]/g, '');
    const spellings = samplers.map(
      ({ name, label, aliases }) => new Set([name, label, ...aliases].map(plain)),
    );
    const all = [
      ...spellings.flatMap((set) => [...set]),
      ...new Set(samplers.map((row) => plain(row.className))),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  test.each(['eulr', 'DPM++ 4M', 'karras', '__proto__', '\0', 'x'.repeat(4096)])('%s is not one', (name) => {
    expect(() => resolve({ name })).toThrow(/^Expected one of ddim, .*, euler, .* for sampler but received /);
  });
});

describe('schedules', () => {
  test('karras goes on top of the config, default takes it off', () => {
    const karras = { ...PNDM, _class_name: 'DPMSolverMultistepScheduler', use_karras_sigmas: true };
    expect(resolve({ name: 'dpmpp-2m', schedule: 'karras' }).config.use_karras_sigmas).toBe(true);
    expect(resolve({ checkpointConfig: karras }).schedule).toBe('karras');
    expect(resolve({ checkpointConfig: karras, schedule: 'default' }).schedule).toBe('default');
    const beta = { ...PNDM, _class_name: 'EulerDiscreteScheduler', use_beta_sigmas: true };
    expect(resolve({ checkpointConfig: beta, schedule: 'karras' }).schedule).toBe('karras');
    expect(resolve({ checkpointConfig: karras, schedule: 'Exponential' }).config).toMatchObject({
      use_karras_sigmas: false,
      use_exponential_sigmas: true,
    });
  });

  test('in any spelling, and with a sampler whose class has no flag for it', () => {
    expect(resolve({ name: 'lms', schedule: 'sgm_uniform' }).schedule).toBe('sgm-uniform');
    expect(resolve({ name: 'heun', schedule: 'Align Your Steps' }).schedule).toBe('ays');
    expect(resolve({ name: 'euler-ancestral', schedule: 'karras' }).schedule).toBe('karras');
    const karras = { ...PNDM, _class_name: 'EulerDiscreteScheduler', use_karras_sigmas: true };
    expect(resolve({ name: 'euler-ancestral', checkpointConfig: karras }).schedule).toBe('default');
    expect(resolve({ checkpointConfig: karras, schedule: 'ays' }).config.use_karras_sigmas).toBe(false);
  });

  test('align your steps has a table for XL', () => {
    const timesteps = (pipeline: string) =>
      resolve({ name: 'dpmpp-2m', schedule: 'ays', pipeline }).create({ steps: 10 }).timesteps;
    expect(timesteps('StableDiffusionPipeline')).toEqual([999, 850, 736, 645, 545, 455, 343, 233, 124, 24]);
    expect(timesteps('StableDiffusionXLPipeline')).toEqual([999, 845, 730, 587, 443, 310, 193, 116, 53, 13]);
  });

  test('one that does not apply, is unknown or contradicts the name is an error', () => {
    expect(() => resolve({ schedule: 'karras' })).toThrow(
      /^Expected default, the only one of sampler pndm \(.*euler, .* have others\), for schedule but received "karras"/,
    );
    expect(() => resolve({ name: 'euler', schedule: 'cosine' })).toThrow(
      'Expected one of default, karras, exponential, beta, ays, sgm-uniform for schedule but received "cosine"',
    );
    expect(() => resolve({ name: 'DPM++ 2M Karras', schedule: 'exponential' })).toThrow('Expected karras');
    expect(resolve({ schedule: 'default' }).name).toBe('pndm');
  });
});

describe('configs', () => {
  interface Conversion {
    name: string;
    checkpoint: Record<string, unknown> & { _class_name: string };
    target: string;
    config: Record<string, unknown>;
  }
  const file = new URL('../fixtures/cases/scheduler-conversions.json', import.meta.url);
  const conversions = JSON.parse(readFileSync(file, 'utf8').replaceAll('-Infinity', 'null')) as Conversion[];

  test.each(conversions.map((c) => [c.name, c.target, c] as const))(
    '%s read as %s has the settings of from_config',
    (_, name, { checkpoint, config: expected }) => {
      const { config } = resolve({ name, checkpointConfig: checkpoint });
      for (const [key, value] of Object.entries(expected)) {
        if (config[key] === undefined) expect([key, neutral(key, value)]).toEqual([key, true]);
        else if (key !== 'lambda_min_clipped') expect([key, config[key] ?? null]).toEqual([key, value]);
      }
    },
  );
  /** Fields that are not understood must be at the value that changes nothing. */
  const neutral = (key: string, value: unknown) =>
    value === null ||
    value === false ||
    /^(dynamic_thresholding_ratio|sample_max_value|flow_shift|time_shift_type)$/.test(key) ||
    (key === 'timestep_type' && value === 'discrete');

  test('DDIM from another class does not clip latents, its own default does', () => {
    expect(resolve({ name: 'ddim' }).config.clip_sample).toBe(false);
    expect(
      resolve({ name: 'ddim', checkpointConfig: { ...PNDM, clip_sample: true } }).config.clip_sample,
    ).toBe(true);
    expect(resolve({ checkpointConfig: { _class_name: 'DDIMScheduler' } }).config.clip_sample).toBe(true);
  });

  test('Stable Diffusion pipelines correct early configs, others do not', () => {
    const early = { _class_name: 'DDIMScheduler', clip_sample: true };
    const corrected = resolve({ checkpointConfig: early, pipeline: 'StableDiffusionPipeline' }).config;
    expect(corrected).toMatchObject({ steps_offset: 1, clip_sample: false });
    for (const pipeline of ['LDMPipeline', 'StableDiffusionXLPipeline', undefined]) {
      const { config } = resolve({ checkpointConfig: early, pipeline });
      expect(config).toMatchObject({ steps_offset: 0, clip_sample: true });
    }
    const zero = { ...PNDM, steps_offset: 0 };
    const named = { name: 'euler', pipeline: 'StableDiffusionPipeline' };
    expect(resolve({ ...named, checkpointConfig: zero }).config.steps_offset).toBe(1);
    const { steps_offset: _, ...absent } = PNDM;
    expect(resolve({ ...named, checkpointConfig: absent }).config.steps_offset).toBe(0);
    const inpaint = { ...PNDM, skip_prk_steps: false };
    const pipeline = 'StableDiffusionInpaintPipeline';
    expect(resolve({ checkpointConfig: inpaint, pipeline }).config.skip_prk_steps).toBe(true);
  });

  test.each([
    [{ thresholding: true }, 'Expected false or null for thresholding but received true'],
    [{ beta_schedule: 'sigmoid' }, 'for beta_schedule but received "sigmoid"'],
    [{ prediction_type: 'flow_prediction' }, 'for prediction_type but received "flow_prediction"'],
    [{ brand_new: 3 }, 'received brand_new: 3'],
    [{ num_train_timesteps: 1e9 }, 'for num_train_timesteps but received 1000000000'],
    [{ beta_end: 'high' }, 'for beta_end but received "high"'],
    [{ steps_offset: -1 }, 'for steps_offset but received -1'],
  ])('%o is an error that names field, value and file', (fields, message) => {
    const checkpointConfig = { _class_name: 'DDIMScheduler', ...fields };
    expect(() => resolve({ checkpointConfig })).toThrow(message);
    expect(() => resolve({ checkpointConfig })).toThrow('in scheduler_config.json');
  });

  test.each([
    ['EulerDiscreteScheduler', { timestep_type: 'continuous' }],
    ['EulerAncestralDiscreteScheduler', { prediction_type: 'sample' }],
    ['DPMSolverMultistepScheduler', { algorithm_type: 'dpmsolver' }],
    [
      'DPMSolverMultistepScheduler',
      { algorithm_type: 'sde-dpmsolver', final_sigmas_type: 'sigma_min', solver_order: 3 },
    ],
    ['DPMSolverMultistepScheduler', { solver_order: 4 }],
    ['DPMSolverMultistepScheduler', { use_flow_sigmas: true }],
    ['DPMSolverMultistepScheduler', { variance_type: 'learned' }],
    ['FlowMatchEulerDiscreteScheduler', {}],
  ])('%s with %o is an error', (_class_name, fields) => {
    expect(() => resolve({ checkpointConfig: { _class_name, ...fields } })).toThrow(
      /^Expected .* but received/,
    );
  });

  test('fields of other classes, and unknown ones that are off, mean nothing', () => {
    const fields = {
      solver_order: 9,
      use_karras_sigmas: true,
      timestep_values: null,
      future: false,
      _note: 'x',
    };
    expect(resolve({ checkpointConfig: { ...PNDM, ...fields } }).config).toEqual(resolve({}).config);
  });

  test("Python's JSON has infinities", () => {
    const text =
      '{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "a\\"Infinity": "NaN"}';
    expect(parsePythonJson(text)).toEqual({
      _class_name: 'DPMSolverMultistepScheduler',
      lambda_min_clipped: Number.NEGATIVE_INFINITY,
      'a"Infinity': 'NaN',
    });
    expect(parsePythonJson('[NaN, Infinity, 1]')).toEqual([Number.NaN, Number.POSITIVE_INFINITY, 1]);
    expect(() => parsePythonJson('{"a": Infinityx}')).toThrow(SyntaxError);
  });
});

describe('runs', () => {
  test.each([0, -1, 1.5, Number.NaN, 1001, 1e6])('%s steps are refused', (steps) => {
    for (const { name } of samplers) {
      expect(() => resolve({ name }).create({ steps })).toThrow(
        /^Expected a whole number from 1 to 1000 for steps/,
      );
    }
  });

  test('so are steps whose timesteps lie beyond training, and too few for Runge-Kutta', () => {
    expect(() => resolve({}).create({ steps: 1000 })).toThrow('for steps but received 1000');
    const checkpointConfig = { ...PNDM, skip_prk_steps: false };
    expect(() => resolve({ checkpointConfig }).create({ steps: 3 })).toThrow('Expected 4 or more steps');
  });

  test('so are more than a distilled model knows, and so many that two would be one', () => {
    expect(() => resolve({ name: 'lcm' }).create({ steps: 51 })).toThrow(
      'a whole number from 1 to 50, as the sampler knows no more timesteps than distillation had, for steps',
    );
    expect(() => resolve({ name: 'tcd' }).create({ steps: 51 })).toThrow(
      'a whole number from 1 to 50, as the sampler knows no more timesteps than distillation had, for steps',
    );
    expect(() => resolve({ name: 'unipc' }).create({ steps: 1000 })).toThrow('Expected fewer steps');
  });

  test('trailing timesteps halfway between two whole numbers go the way of numpy', () => {
    const checkpointConfig = { ...PNDM, timestep_spacing: 'trailing' };
    const { timesteps } = resolve({ name: 'ddim', checkpointConfig }).create({ steps: 48 });
    // 937.5, 812.5, 687.5, … less one, with the error of 1000/48 added up
    expect([3, 9, 15, 21, 27, 33].map((i) => timesteps[i])).toEqual([936, 811, 686, 561, 436, 311]);
  });

  test('eta is for DDIM and TCD, from 0 to 1', () => {
    expect(samplers.filter((row) => row.takesEta).map((row) => row.name)).toEqual(['ddim', 'tcd']);
    expect(() => resolve({ name: 'ddim' }).create({ steps: 3, eta: Number.NaN })).toThrow(
      'for eta but received NaN',
    );
    expect(() => resolve({ name: 'ddim' }).create({ steps: 3, eta: 1.1 })).toThrow(
      'for eta but received 1.1',
    );
  });

  const counts = [...Array(120).keys()].map((i) => (i < 100 ? i + 1 : 100 + (i - 99) * 19));

  test.each(samplers.map((row) => [row.name, row.evaluations] as const))(
    '%s: every number of steps gives finite timesteps within training, %s of them',
    (name, evaluations) => {
      const inAll: Record<string, (n: number) => number> = {
        n: (n) => n,
        '2n − 1': (n) => 2 * n - 1,
        'n + 1; n + 9 with Runge-Kutta steps': (n) => (n === 1 ? 1 : n + 1),
      };
      for (const timestep_spacing of ['leading', 'trailing', 'linspace']) {
        const { create, config } = resolve({ name, checkpointConfig: { ...PNDM, timestep_spacing } });
        const most = (config.original_inference_steps as number | undefined) ?? 500;
        for (const steps of counts.filter((count) => count <= most)) {
          const { timesteps } = create({ steps });
          expect(timesteps.length).toBe(inAll[evaluations]!(steps));
          expect(timesteps.every((t) => t >= 0 && t < 1000)).toBe(true);
        }
      }
    },
  );
});
