import { parseConfig } from '../checkpoints/config.ts';
import { CheckpointError } from '../checkpoints/error.ts';
import { errors, show } from '../errors.ts';
import { type RawSchedulerConfig, relevantFields } from './config.ts';
import { type PipelineClass, pipelineRules } from './pipeline-rules.ts';
import type { Sampler } from './sampler.ts';
import { type SigmaFlags, type SigmaSchedule, sigmaScheduleOf } from './sigmas.ts';
import { findSampler, findSchedule, type Row, samplers, schedules } from './table.ts';

export { parsePythonJson } from './config.ts';
export { firstEvaluation, type Noise, type Sampler } from './sampler.ts';
export { samplers } from './table.ts';

export interface SamplerRequest {
  /** A sampler's name or alias, a schedule's behind it if wanted; none: the checkpoint's own. */
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
  const { checkpointConfig, pipeline = '', file } = request;
  const own = samplers.find((row) => row.className === checkpointConfig._class_name);
  const named = request.name ? namedSampler(request.name) : undefined;
  const row = named?.row ?? own;
  if (!row) {
    const known = [...new Set(samplers.map((row) => row.className))].join(', ');
    throw new CheckpointError(
      `Expected one of ${known} for _class_name but received ${show(checkpointConfig._class_name)}, in ${file}`,
      { file },
    );
  }
  const asked = scheduleOf(request.schedule, named?.schedule);
  if (asked && asked !== 'default' && !row.takesSchedule) {
    const others = samplers.filter((row) => row.takesSchedule).map((row) => row.name);
    throw errors.invalidArgument(
      'schedule',
      `default, the only one of sampler ${row.name} (${others.join(', ')} have others),`,
      request.schedule || request.name,
    );
  }

  const { schema } = row.family;
  const derived = row.className !== own?.className;
  const fields: RawSchedulerConfig = {
    ...pipelineRules(checkpointConfig, { pipeline, derived }),
    _class_name: row.className,
    ...(named && row.fixed),
    ...(asked && flagsOf(asked)),
  };
  const config = parseConfig(schema, relevantFields(fields, schema.shape), file);
  const schedule = asked ?? sigmaScheduleOf(config as unknown as SigmaFlags);
  const aysTable = pipeline.startsWith('StableDiffusionXL') ? 'sdxl' : 'sd';
  return {
    name: named ? row.name : nameOf(config, row),
    schedule,
    config,
    takesEta: row.takesEta ?? false,
    create({ steps, eta = 0 }) {
      const most = config.num_train_timesteps as number;
      if (!Number.isInteger(steps) || steps < 1 || steps > most) {
        throw errors.invalidArgument('steps', `a whole number from 1 to ${most}`, steps);
      }
      if (!(eta >= 0 && eta <= 1)) throw errors.invalidArgument('eta', 'a number from 0 to 1', eta);
      return row.family.create(config as never, { steps, eta, schedule, aysTable });
    },
  };
}

function namedSampler(name: string) {
  const found = findSampler(name);
  if (found) return found;
  throw errors.invalidArgument('sampler', `one of ${samplers.map((row) => row.name).join(', ')}`, name);
}

/** What a checkpoint's own sampler is called: the row whose settings it has. */
function nameOf(config: RawSchedulerConfig, first: Row): string {
  const rows = samplers.filter((row) => row.className === first.className);
  const fits = ({ fixed = {} }: Row) => Object.entries(fixed).every(([key, value]) => config[key] === value);
  return (rows.find(fits) ?? first).name;
}

/** The schedule asked for, in its own field or behind the sampler's name. */
function scheduleOf(asked: string | undefined, suffix: SigmaSchedule | undefined): SigmaSchedule | undefined {
  if (!asked) return suffix;
  const schedule = findSchedule(asked);
  if (!schedule)
    throw errors.invalidArgument('schedule', `one of ${Object.keys(schedules).join(', ')}`, asked);
  if (suffix && suffix !== schedule) {
    throw errors.invalidArgument('schedule', `${suffix}, as the sampler's name says`, asked);
  }
  return schedule;
}

/** The flags of a config that has this schedule; `ays` and `sgm-uniform` have none. */
const flagsOf = (schedule: SigmaSchedule) =>
  Object.fromEntries(
    ['karras', 'exponential', 'beta'].map((name) => [`use_${name}_sigmas`, name === schedule]),
  );
