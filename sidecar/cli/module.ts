import type { Command } from 'commander';
import { readTensors } from '../checkpoints/safetensors.ts';
import { writeSafetensors } from '../checkpoints/write.ts';
import { openDevice } from '../engine/devices/open.ts';
import { type ModuleOptions, modules } from '../engine/modules/index.ts';
import { type DeviceOptions, deviceOptions, number, openOptions } from './options.ts';

const names = Object.keys(modules);

export function moduleCommand(command: Command): Command {
  command
    .argument('<model>', 'folder in diffusers layout, checkpoint in one file, or the folder of a component')
    .argument('<component>', names.join(', '))
    .argument(
      '<in.safetensors>',
      'its inputs by name: input_ids; sample, timestep, encoder_hidden_states, text_embeds, time_ids; controlnet_cond; image; latents',
    )
    .argument('<out.safetensors>', 'where its outputs go, float32')
    .option('--controlnet <folder>', 'of controlnet and controlnet+unet: the ControlNet')
    .option('--scale <x>', 'factor of its residuals (default: 1)', number(-100, 100))
    .option('--guess-mode', 'its shallow residuals less: a tenth for the first');
  return deviceOptions(command).action(
    async (
      dir: string,
      component: string,
      input: string,
      output: string,
      options: DeviceOptions & ModuleOptions,
    ) => {
      const run = Object.hasOwn(modules, component) ? modules[component] : undefined;
      if (!run)
        throw new Error(
          `Expected one of ${names.join(', ')} for component but received ${JSON.stringify(component)}`,
        );
      const inputs = await readTensors(input);
      const device = await openDevice(openOptions(options));
      try {
        const outputs = await run(device, dir, inputs, options);
        await writeSafetensors(output, outputs);
        for (const [name, { shape, data }] of outputs) {
          console.log(`${name} [${shape.join(', ')}]`);
          if (!data.every(Number.isFinite)) console.error(`warning: ${name} has NaN or infinity`);
        }
      } finally {
        await device.dispose();
      }
    },
  );
}
