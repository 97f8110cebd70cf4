import type { Command } from 'commander';
import type { WeightStorage } from '../../checkpoints/weights.ts';
import { describeAll } from '../../engine/catalog.ts';
import { controlNetHash, hashOf, tinyAutoencoderHash } from '../../engine/inspect.ts';
import { modelFolders } from '../../engine/roots.ts';
import { collect, weightsOption } from '../options.ts';
import { inspectCommand } from './inspect.ts';
import { pullCommand } from './pull.ts';
import { bytesText, stepsText } from './text.ts';

interface ModelsFlags {
  model?: string[];
  hash?: boolean;
  weights: WeightStorage;
}

export function modelsCommand(command: Command): Command {
  return command
    .option(
      '--model <dir>',
      'a model (folder or .safetensors file), or a folder of models; may be repeated',
      collect,
    )
    .enablePositionalOptions()
    .option('--hash', 'with the SHA-256 of each model’s tensors; reads all of a file the first time')
    .addOption(weightsOption())
    .action(list)
    .addCommand(inspectCommand())
    .addCommand(pullCommand());
}

async function list({ model, hash, weights }: ModelsFlags): Promise<void> {
  const folders = await modelFolders(model);
  const models = await describeAll(folders, undefined, weights);
  const kinds = {
    'latent-diffusion': { places: await folders.list(), hashAt: hashOf },
    controlnet: { places: await folders.controlNets(), hashAt: controlNetHash },
    autoencoder: { places: await folders.tinyAutoencoders(), hashAt: tinyAutoencoderHash },
  };
  for (const { name, kind, family, width, height, steps, guidanceScale, sampler, ...rest } of models) {
    const { places, hashAt } = kinds[kind];
    const defaults =
      kind === 'latent-diffusion'
        ? `  ${width}x${height}, ${stepsText(steps)}, guidance ${guidanceScale}, ${sampler}`
        : '';
    const digest = hash
      ? `  ${await hashAt(places.find((place) => place.name === name)!.dir, { weights })}`
      : '';
    console.log(
      `${name.padEnd(28)} ${kind.padEnd(16)}  ${family.padEnd(5)}  ${bytesText(rest.bytes)}${digest}${defaults}${rest.isDefault ? '  (default)' : ''}`,
    );
  }
  const described = new Set(models.map(({ name }) => name));
  for (const { name, dir } of await folders.list())
    if (!described.has(name))
      console.error(`${name} cannot be read: latent-edge models inspect ${dir} says why`);
  if (models.length === 0) console.error('No models here: name a folder with --model or LATENT_EDGE_MODELS');
}
