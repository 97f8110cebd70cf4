import type { ListNamesResponse } from '../proto/gen/latentedge/v1/ListNamesResponse.ts';
import type { Engine } from './engine/engine.ts';
import { upscalers } from './engine/hires.ts';
import { preprocessors } from './preprocessors/table.ts';
import { samplers, schedules } from './samplers/table.ts';

/** What can be named in a request, besides models. */
export async function names(engine: Engine): Promise<ListNamesResponse> {
  return {
    samplers: samplers.map(({ name, label, aliases }) => ({ name, aliases: [label, ...aliases] })),
    schedules: Object.entries(schedules).map(([name, { label, aliases }]) => ({
      ...{ name, aliases: [label, ...aliases] },
    })),
    preprocessors: preprocessors.map(({ name, aliases, what, family }) => ({
      ...{ name, aliases, what },
      options: Object.entries(family.options).map(
        ([name, { what, default: defaultValue, min, max, whole }]) => ({
          ...{ name, what, defaultValue, min, max, whole: whole ?? false },
        }),
      ),
    })),
    adapters: await engine.adapters(),
    hiresUpscalers: Object.keys(upscalers),
    embeddings: (await engine.embeddings()).map(({ name, vectors, width, bytes, modifiedMs }) => ({
      ...{ name, vectors, width, bytes, modifiedMs: Math.floor(modifiedMs) },
    })),
  };
}
