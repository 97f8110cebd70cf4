import type { z } from 'zod';
import type { RawSchedulerConfig } from './config.ts';
import * as ddim from './ddim.ts';
import * as ddpm from './ddpm.ts';
import * as deis from './deis.ts';
import * as dpmMultistep from './dpm-multistep.ts';
import * as dpmSinglestep from './dpm-singlestep.ts';
import * as euler from './euler.ts';
import * as eulerAncestral from './euler-ancestral.ts';
import * as heun from './heun.ts';
import * as kdpm2 from './kdpm2.ts';
import * as lcm from './lcm.ts';
import * as lms from './lms.ts';
import * as pndm from './pndm.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import type { SigmaSchedule } from './sigmas.ts';
import * as tcd from './tcd.ts';
import * as unipc from './unipc.ts';

/** What a sampler's file exports: the fields of its config, and a run of it. */
interface Family {
  schema: z.ZodObject;
  create: (config: never, options: RunOptions) => Sampler;
}

/** One sampler as the documentation and the errors list it. */
export interface Row {
  /** How it is named here. */
  name: string;
  /** As web UIs in the line of A1111's show it, and read it in an image's parameters. */
  label: string;
  /** Other spellings; case and punctuation do not count. Class names are spellings too, of their first row. */
  aliases: string[];
  /** diffusers' class, as scheduler_config.json names it. */
  className: string;
  family: Family;
  /** What asking for it by name fixes in the config. */
  fixed?: RawSchedulerConfig;
  /** Whether its sigmas can be spread by a schedule. */
  takesSchedule?: boolean;
  takesEta?: boolean;
  /** Whether it draws noise after the first; `eta`: when that is above 0. */
  drawsNoise: boolean | 'eta';
  /** How often the model is evaluated in n steps. */
  evaluations: string;
}

const multistep = {
  className: 'DPMSolverMultistepScheduler',
  family: dpmMultistep,
  takesSchedule: true,
  evaluations: 'n',
};

const singlestep = {
  className: 'DPMSolverSinglestepScheduler',
  family: dpmSinglestep,
  takesSchedule: true,
  evaluations: 'n',
};

/** Every sampler. A new one is a file and a row. */
export const samplers: readonly Row[] = [
  {
    name: 'ddim',
    label: 'DDIM',
    aliases: [],
    className: 'DDIMScheduler',
    family: ddim,
    takesEta: true,
    drawsNoise: 'eta',
    evaluations: 'n',
  },
  {
    name: 'ddpm',
    label: 'DDPM',
    aliases: [],
    className: 'DDPMScheduler',
    family: ddpm,
    drawsNoise: true,
    evaluations: 'n',
  },
  {
    name: 'pndm',
    label: 'PLMS',
    aliases: ['k_plms'],
    className: 'PNDMScheduler',
    family: pndm,
    drawsNoise: false,
    evaluations: 'n + 1; n + 9 with Runge-Kutta steps',
  },
  {
    name: 'lms',
    label: 'LMS',
    aliases: ['k_lms', 'LMSDiscrete'],
    className: 'LMSDiscreteScheduler',
    family: lms,
    takesSchedule: true,
    drawsNoise: false,
    evaluations: 'n',
  },
  {
    name: 'euler',
    label: 'Euler',
    aliases: ['k_euler', 'EulerDiscrete'],
    className: 'EulerDiscreteScheduler',
    family: euler,
    takesSchedule: true,
    drawsNoise: false,
    evaluations: 'n',
  },
  {
    name: 'euler-ancestral',
    label: 'Euler a',
    aliases: ['k_euler_a', 'k_euler_ancestral'],
    className: 'EulerAncestralDiscreteScheduler',
    family: eulerAncestral,
    takesSchedule: true,
    drawsNoise: true,
    evaluations: 'n',
  },
  {
    name: 'heun',
    label: 'Heun',
    aliases: ['k_heun'],
    className: 'HeunDiscreteScheduler',
    family: heun,
    takesSchedule: true,
    drawsNoise: false,
    evaluations: '2n − 1',
  },
  {
    name: 'kdpm2',
    label: 'DPM2',
    aliases: ['dpm_2', 'k_dpm_2'],
    className: 'KDPM2DiscreteScheduler',
    family: kdpm2,
    takesSchedule: true,
    drawsNoise: false,
    evaluations: '2n − 1',
  },
  {
    name: 'kdpm2-ancestral',
    label: 'DPM2 a',
    aliases: ['dpm_2_a', 'dpm_2_ancestral', 'k_dpm_2_a', 'k_dpm_2_ancestral'],
    className: 'KDPM2AncestralDiscreteScheduler',
    family: kdpm2.ancestral,
    takesSchedule: true,
    drawsNoise: true,
    evaluations: '2n − 1',
  },
  {
    ...multistep,
    name: 'dpmpp-2m',
    label: 'DPM++ 2M',
    aliases: ['k_dpmpp_2m', 'DPMSolver++'],
    fixed: { algorithm_type: 'dpmsolver++', solver_order: 2 },
    drawsNoise: false,
  },
  {
    ...multistep,
    name: 'dpmpp-3m',
    label: 'DPM++ 3M',
    aliases: [],
    fixed: { algorithm_type: 'dpmsolver++', solver_order: 3 },
    drawsNoise: false,
  },
  {
    ...multistep,
    name: 'dpmpp-2m-sde',
    label: 'DPM++ 2M SDE',
    aliases: ['k_dpmpp_2m_sde', 'dpmpp_2m_sde_gpu'],
    fixed: { algorithm_type: 'sde-dpmsolver++', solver_order: 2, solver_type: 'midpoint' },
    drawsNoise: true,
  },
  {
    ...multistep,
    name: 'dpmpp-2m-sde-heun',
    label: 'DPM++ 2M SDE Heun',
    aliases: ['dpmpp_2m_sde_heun_gpu'],
    fixed: { algorithm_type: 'sde-dpmsolver++', solver_order: 2, solver_type: 'heun' },
    drawsNoise: true,
  },
  {
    ...multistep,
    name: 'dpmpp-3m-sde',
    label: 'DPM++ 3M SDE',
    aliases: ['k_dpmpp_3m_sde', 'dpmpp_3m_sde_gpu'],
    fixed: { algorithm_type: 'sde-dpmsolver++', solver_order: 3 },
    drawsNoise: true,
  },
  {
    ...multistep,
    name: 'dpm-solver-2',
    label: 'DPM-Solver',
    aliases: ['DPMSolver'],
    fixed: { algorithm_type: 'dpmsolver', solver_order: 2, final_sigmas_type: 'sigma_min' },
    drawsNoise: false,
  },
  {
    ...singlestep,
    name: 'dpmpp-2s',
    label: 'DPM++ 2S',
    aliases: [],
    fixed: { algorithm_type: 'dpmsolver++', solver_order: 2 },
    drawsNoise: false,
  },
  {
    ...singlestep,
    name: 'dpmpp-sde',
    label: 'DPM++ SDE',
    aliases: ['k_dpmpp_sde', 'dpmpp_sde_gpu'],
    fixed: { algorithm_type: 'sde-dpmsolver++', solver_order: 2 },
    drawsNoise: true,
  },
  {
    name: 'deis',
    label: 'DEIS',
    aliases: ['DEISMultistep'],
    className: 'DEISMultistepScheduler',
    family: deis,
    fixed: { algorithm_type: 'deis' },
    takesSchedule: true,
    drawsNoise: false,
    evaluations: 'n',
  },
  {
    name: 'unipc',
    label: 'UniPC',
    aliases: ['uni_pc', 'uni_pc_bh2', 'UniPCMultistep'],
    className: 'UniPCMultistepScheduler',
    family: unipc,
    takesSchedule: true,
    drawsNoise: false,
    evaluations: 'n',
  },
  {
    name: 'lcm',
    label: 'LCM',
    aliases: [],
    className: 'LCMScheduler',
    family: lcm,
    drawsNoise: true,
    evaluations: 'n',
  },
  {
    name: 'tcd',
    label: 'TCD',
    aliases: [],
    className: 'TCDScheduler',
    family: tcd,
    takesEta: true,
    drawsNoise: 'eta',
    evaluations: 'n',
  },
];

/** Every schedule: how web UIs show it, its other spellings, and where it puts the sigmas. */
export const schedules: Record<SigmaSchedule, { label: string; aliases: string[]; spread: string }> = {
  default: {
    label: 'Automatic',
    aliases: ['uniform', 'normal'],
    spread: "at the timesteps, spaced as the checkpoint's `timestep_spacing` says",
  },
  karras: { label: 'Karras', aliases: [], spread: 'evenly in σ^(1/7) (arXiv:2206.00364, equation 5)' },
  exponential: { label: 'Exponential', aliases: [], spread: 'evenly in log σ' },
  beta: {
    label: 'Beta',
    aliases: [],
    spread: 'quantiles of Beta(0.6, 0.6), dense at both ends (arXiv:2407.12173)',
  },
  ays: {
    label: 'Align Your Steps',
    aliases: ['align_your_steps'],
    spread:
      'the ten timesteps of "align your steps" (arXiv:2404.14507), for Stable Diffusion 1.x or XL; other numbers of ' +
      'steps by interpolation in log σ',
  },
  'sgm-uniform': {
    label: 'SGM Uniform',
    aliases: ['sgm_uniform'],
    spread: 'at n + 1 timesteps evenly from the last of training to 0, without the 0',
  },
};

/** Letters and digits only; `++` is `pp`, as in dpmpp. */
const plain = (name: string) =>
  name
    .toLowerCase()
    .replaceAll('+', 'p')
    .replace(/[^a-z0-9]/g, '');

const samplerByName = new Map<string, Row>();
for (const row of samplers) {
  const spellings = [
    row.name,
    row.label,
    ...row.aliases,
    row.className,
    row.className.replace('Scheduler', ''),
  ];
  for (const name of spellings) if (!samplerByName.has(plain(name))) samplerByName.set(plain(name), row);
}

const scheduleByName = new Map(
  (Object.keys(schedules) as SigmaSchedule[]).flatMap((schedule) =>
    [schedule, schedules[schedule].label, ...schedules[schedule].aliases].map(
      (name): [string, SigmaSchedule] => [plain(name), schedule],
    ),
  ),
);

/** The schedule of that name, in any spelling. */
export const findSchedule = (name: string): SigmaSchedule | undefined => scheduleByName.get(plain(name));

/** The sampler of that name in any spelling, and the schedule whose name stands behind it, if one does. */
export function findSampler(name: string): { row: Row; schedule?: SigmaSchedule } | undefined {
  const key = plain(name);
  const row = samplerByName.get(key);
  if (row) return { row };
  for (const [suffix, schedule] of scheduleByName) {
    const base = key.endsWith(suffix) ? samplerByName.get(key.slice(0, -suffix.length)) : undefined;
    if (base) return { row: base, schedule };
  }
  return undefined;
}
