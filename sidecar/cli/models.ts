import { Command } from 'commander';
import { describeAll } from '../engine/catalog.ts';
import { modelFolders } from '../engine/roots.ts';
import { collect } from './options.ts';

export function modelsCommand(): Command {
  return new Command('models')
    .description('list the models that can be named')
    .option(
      '--model <dir>',
      'a model (folder or .safetensors file), or a folder of models; may be repeated',
      collect,
    )
    .action(async ({ model }: { model?: string[] }) => {
      const models = await describeAll(await modelFolders(model));
      for (const { name, family, width, height, steps, guidanceScale, sampler, bytes, isDefault } of models) {
        const defaults = `${width}x${height}, ${steps} steps, guidance ${guidanceScale}, ${sampler}`;
        console.log(
          `${name.padEnd(28)} ${family.padEnd(4)}  ${megabytes(bytes)}  ${defaults}${isDefault ? '  (default)' : ''}`,
        );
      }
      if (models.length === 0)
        console.error('No models here: name a folder with --model or LATENT_EDGE_MODELS');
    });
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`.padStart(8);
}
