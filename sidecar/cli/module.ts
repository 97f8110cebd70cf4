import { Command } from 'commander';
import { readTensors } from '../checkpoints/safetensors.ts';
import { writeSafetensors } from '../checkpoints/write.ts';
import { modules } from '../engine/modules/index.ts';
import { native } from '../native.ts';
import { type DeviceOptions, deviceOptions } from './options.ts';

const names = Object.keys(modules);

export function moduleCommand(): Command {
  const command = new Command('module')
    .description(
      'run one component of a model on tensors from a file, to compare it with another implementation',
    )
    .argument('<model>', 'folder in diffusers layout, checkpoint in one file, or the folder of a component')
    .argument('<component>', names.join(', '))
    .argument(
      '<in.safetensors>',
      'its inputs by name: input_ids; sample, timestep, encoder_hidden_states, text_embeds, time_ids; image; latents',
    )
    .argument('<out.safetensors>', 'where its outputs go, float32');
  return deviceOptions(command).action(
    async (dir: string, component: string, input: string, output: string, options: DeviceOptions) => {
      const run = Object.hasOwn(modules, component) ? modules[component] : undefined;
      if (!run)
        throw new Error(
          `Expected ${names.join(', ')} for component but received ${JSON.stringify(component)}`,
        );
      const inputs = await readTensors(input);
      const device = await native().open(options);
      try {
        await writeSafetensors(output, await run(device, dir, inputs));
      } finally {
        await device.dispose();
      }
    },
  );
}
