import { z } from '@hono/zod-openapi';

// Replies of A1111's routes, as clients read them.

const name = z.string();
const nothing = z.null();
const bytes = z.object({ free: z.number(), used: z.number(), total: z.number() });

export const progressReply = z
  .object({
    progress: z.number().min(0).max(1),
    eta_relative: z.number().openapi({ description: 'Seconds.' }),
    state: z.object({
      ...{ skipped: z.boolean(), interrupted: z.boolean(), stopping_generation: z.boolean() },
      ...{ job: z.string(), job_count: z.int(), job_no: z.int(), job_timestamp: z.string() },
      ...{ sampling_step: z.int(), sampling_steps: z.int() },
    }),
    current_image: z.string().nullable().openapi({ description: 'The newest picture, in base64.' }),
    textinfo: nothing,
    current_task: z.string().nullable(),
  })
  .openapi('SdApiProgress');

export const optionsReply = z
  .looseObject({ sd_model_checkpoint: z.string().nullable(), samples_format: z.string() })
  .openapi('SdApiOptions');

export const pngInfoReply = z
  .object({
    info: z.string().openapi({ description: 'The text in the file.' }),
    items: z.record(z.string(), z.string()),
    parameters: z.record(z.string(), z.string()),
  })
  .openapi('SdApiPngInfo');

export const modelsReply = z.array(
  z.object({
    title: name,
    model_name: name,
    hash: name.nullable().openapi({ description: 'As info.sd_model_hash; null until it has been loaded.' }),
    sha256: nothing,
    filename: name,
    config: nothing,
  }),
);
export const samplersReply = z.array(
  z.object({ name, aliases: z.array(name), options: z.record(z.string(), z.unknown()) }),
);
export const schedulersReply = z.array(
  z.object({
    ...{ name, label: z.string(), aliases: z.array(name) },
    ...{ default_rho: z.number(), need_inner_model: z.boolean() },
  }),
);
export const lorasReply = z.array(
  z.object({ name, alias: name, path: name, metadata: z.record(z.string(), z.unknown()) }),
);
export const embeddingsReply = z.object({
  loaded: z.record(
    z.string(),
    z.object({
      ...{ step: nothing, sd_checkpoint: nothing, sd_checkpoint_name: nothing },
      ...{ shape: z.int(), vectors: z.int() },
    }),
  ),
  skipped: z.record(z.string(), z.unknown()),
});
export const upscalersReply = z.array(
  z.object({ name, model_name: nothing, model_path: nothing, model_url: nothing, scale: z.number() }),
);
export const namedReply = z.array(z.object({ name }));
export const scriptsReply = z.object({ txt2img: z.array(name), img2img: z.array(name) });
export const scriptInfoReply = z.array(
  z.object({ name, is_alwayson: z.boolean(), is_img2img: z.boolean(), args: z.array(z.unknown()) }),
);
export const memoryReply = z.object({ ram: bytes, cuda: z.object({ system: bytes }) });
export const emptyList = z.array(z.unknown()).max(0);
export const emptyObject = z.object({});
export const done = nothing;

export const modelListReply = z.object({ model_list: z.array(name) });
export const moduleListReply = z.object({
  module_list: z.array(name),
  module_detail: z.record(
    z.string(),
    z.object({
      model_free: z.boolean(),
      sliders: z.array(z.object({ name, value: z.number(), min: z.number(), max: z.number() })),
    }),
  ),
});
export const controlTypesReply = z.object({
  control_types: z.record(
    z.string(),
    z.object({
      ...{ module_list: z.array(name), model_list: z.array(name) },
      ...{ default_option: name, default_model: name },
    }),
  ),
});
export const detectReply = z.object({ images: z.array(z.string()), info: z.string() });
export const versionReply = z.object({ version: z.int() });
export const controlSettingsReply = z.object({ control_net_unit_count: z.int() });
