import type { z } from 'zod';
import { parseConfig } from '../checkpoints/config.ts';
import { CheckpointError } from '../checkpoints/error.ts';
import { errors, show } from '../errors.ts';
import { type RawSchedulerConfig, relevantFields } from './config.ts';
import * as ddim from './ddim.ts';
import * as dpmpp2m from './dpmpp-2m.ts';
import * as euler from './euler.ts';
import * as eulerAncestral from './euler-ancestral.ts';
import { type PipelineClass, pipelineRules } from './pipeline-rules.ts';
import * as pndm from './pndm.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { type SigmaFlags, type SigmaSchedule, sigmaScheduleOf, sigmaSchedules } from './sigmas.ts';

export { parsePythonJson } from './config.ts';
export type { Noise, Sampler } from './sampler.ts';

/** What a sampler's file exports: the fields of its config, and a run of it. */
interface Family {
  schema: z.ZodObject;
  create: (config: never, options: RunOptions) => Sampler;
}

interface Row {
  /** How it is named here. */
  name: string;
  /** Other spellings; case and punctuation do not count, and the class name is one anyway. */
  aliases: string[];
  /** diffusers' class, as scheduler_config.json names it. */
  className: string;
  family: Family;
  /** What asking for it by name fixes in the config. */
  fixed?: RawSchedulerConfig;
  takesEta?: boolean;
}

/** Every sampler, its names and its class. A new one is a file and a row. */
export const samplers: readonly Row[] = [
  { name: 'ddim', aliases: [], className: 'DDIMScheduler', family: ddim, takesEta: true },
  { name: 'pndm', aliases: ['PLMS', 'k_plms'], className: 'PNDMScheduler', family: pndm },
  { name: 'euler', aliases: ['k_euler'], className: 'EulerDiscreteScheduler', family: euler },
  {
    name: 'euler-ancestral',
    aliases: ['Euler a', 'k_euler_a', 'k_euler_ancestral'],
    className: 'EulerAncestralDiscreteScheduler',
    family: eulerAncestral,
  },
  {
    name: 'dpmpp-2m',
    aliases: ['DPM++ 2M', 'k_dpmpp_2m', 'DPMSolver++'],
    className: 'DPMSolverMultistepScheduler',
    family: dpmpp2m,
    fixed: { algorithm_type: 'dpmsolver++', solver_order: 2 },
  },
];

const SCHEDULES = ['default', ...Object.keys(sigmaSchedules)] as SigmaSchedule[];

export interface SamplerRequest {
  /** A sampler's name or alias, `karras` or `exponential` behind it if wanted; none: the checkpoint's own. */
  name?: string | undefined;
  /** Spread of sigmas; none: as the checkpoint's config has it. */
  schedule?: string | undefined;
  /** The checkpoint's scheduler_config.json, parsed (`parsePythonJson`). */
  checkpointConfig: RawSchedulerConfig;
  /** `_class_name` of the checkpoint's model_index.json. */
  pipeline?: PipelineClass | undefined;
  /** Where the config came from, for messages. */
  file: string;
}

export interface ResolvedSampler {
  name: string;
  schedule: SigmaSchedule;
  /** The config with all defaults filled in. */
  config: RawSchedulerConfig;
  /** Whether `eta` changes anything. */
  takesEta: boolean;
  /**
   * A run for one image.
   * @throws ServiceError when `steps` or `eta` is out of range.
   */
  create(options: { steps: number; eta?: number | undefined }): Sampler;
}

/**
 * Which sampler a request gets, and its settings. With none named the checkpoint's config decides everything. With
 * one named it is configured as diffusers' `Scheduler.from_config(checkpoint's config)` does: fields that both classes
 * have carry over, the others take the class's defaults, and `schedule` goes on top.
 * @throws ServiceError for an unknown name or schedule; CheckpointError for a config that asks for what is not there.
 */
export function resolveSampler(request: SamplerRequest): ResolvedSampler {
  const { checkpointConfig, pipeline, file } = request;
  const own = samplers.find((row) => row.className === checkpointConfig._class_name);
  const named = request.name ? findByName(request.name) : undefined;
  const row = named?.row ?? own;
  if (!row) {
    const known = samplers.map((row) => row.className).join(', ');
    throw new CheckpointError(
      `Expected one of ${known} for _class_name but received ${show(checkpointConfig._class_name)}, in ${file}`,
      { file },
    );
  }

  const raw = pipelineRules(checkpointConfig, { pipeline, derived: row !== own });
  const fields: RawSchedulerConfig = { ...raw, _class_name: row.className, ...(named && row.fixed) };
  const schedule = scheduleOf(request.schedule, named?.schedule);
  if (schedule && schedule !== 'default' && !hasSchedules(row)) {
    const others = samplers.filter(hasSchedules).map((row) => row.name);
    throw errors.invalidArgument(
      'schedule',
      `default for sampler ${row.name} (${others.join(', ')} have others)`,
      schedule,
    );
  }
  if (schedule && hasSchedules(row)) {
    for (const name of ['beta', ...Object.keys(sigmaSchedules)]) {
      fields[`use_${name}_sigmas`] = name === schedule;
    }
  }

  const { schema } = row.family;
  const config = parseConfig(schema, relevantFields(fields, schema.shape), file);
  return {
    name: row.name,
    schedule: hasSchedules(row) ? sigmaScheduleOf(config as unknown as SigmaFlags) : 'default',
    config,
    takesEta: row.takesEta ?? false,
    create({ steps, eta = 0 }) {
      const most = config.num_train_timesteps as number;
      if (!Number.isInteger(steps) || steps < 1 || steps > most) {
        throw errors.invalidArgument('steps', `a whole number from 1 to ${most}`, steps);
      }
      if (!(eta >= 0 && eta <= 1)) throw errors.invalidArgument('eta', 'a number from 0 to 1', eta);
      return row.family.create(config as never, { steps, eta });
    },
  };
}

const hasSchedules = (row: Row) => 'use_karras_sigmas' in row.family.schema.shape;

/** Letters and digits only; `++` is `pp`, as in dpmpp. */
const plain = (name: string) =>
  name
    .toLowerCase()
    .replaceAll('+', 'p')
    .replace(/[^a-z0-9]/g, '');

const byName = new Map(
  samplers.flatMap((row) =>
    [row.name, ...row.aliases, row.className, row.className.replace('Scheduler', '')].map((name) => [
      plain(name),
      row,
    ]),
  ),
);

function findByName(name: string): { row: Row; schedule?: SigmaSchedule } {
  const key = plain(name);
  const row = byName.get(key);
  if (row) return { row };
  for (const schedule of SCHEDULES) {
    const base = key.endsWith(schedule) ? byName.get(key.slice(0, -schedule.length)) : undefined;
    if (base) return { row: base, schedule };
  }
  throw errors.invalidArgument('sampler', `one of ${samplers.map((row) => row.name).join(', ')}`, name);
}

/** The schedule asked for, in its own field or behind the sampler's name. */
function scheduleOf(asked: string | undefined, suffix: SigmaSchedule | undefined): SigmaSchedule | undefined {
  if (!asked) return suffix;
  const schedule = SCHEDULES.find((name) => name === asked.toLowerCase());
  if (!schedule) throw errors.invalidArgument('schedule', `one of ${SCHEDULES.join(', ')}`, asked);
  if (suffix && suffix !== schedule) {
    throw errors.invalidArgument('schedule', `${suffix}, as the sampler's name says`, asked);
  }
  return schedule;
}
