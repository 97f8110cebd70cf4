import { existsSync } from 'node:fs';
import { Command } from 'commander';
import type { WeightStorage } from '../../checkpoints/weights.ts';
import { type Inspection, inspect, inspectPart, type PartInspection } from '../../engine/inspect.ts';
import { modelFolders } from '../../engine/roots.ts';
import { errors } from '../../errors.ts';
import { weightsOption } from '../options.ts';
import { bytesText, countText } from './text.ts';

interface InspectFlags {
  weights: WeightStorage;
  hash?: boolean;
  json?: boolean;
}

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('say what a model consists of, or what is wrong with it')
    .argument('<model>', 'a name that `latent-edge models` lists, a folder in diffusers layout or a file')
    .option('--hash', 'with the SHA-256 of its tensors')
    .option('--json', 'as JSON')
    .addOption(weightsOption())
    .action(async (model: string, { json, ...options }: InspectFlags) => {
      // A path is looked at as it is, so that what is wrong with it is said.
      const path = existsSync(model) ? model : await placeOf(model);
      const found = (await inspectPart(path, options)) ?? (await inspect(path, options));
      if (json) console.log(JSON.stringify(found, null, 2));
      else for (const line of report(found)) console.log(line);
    });
}

/** Where what `latent-edge models` lists under a name lies. */
async function placeOf(name: string): Promise<string> {
  const folders = await modelFolders();
  const places = [folders.list(), folders.controlNets(), folders.tinyAutoencoders()];
  const all = (await Promise.all(places)).flat();
  const place = all.find((place) => place.name === name);
  if (place) return place.dir;
  throw errors.modelNotFound(
    name,
    all.map(({ name }) => name),
  );
}

function report(found: Inspection | PartInspection): string[] {
  const rows: [string, string][] = [
    ['path', found.path],
    'pipeline' in found
      ? ['pipeline', `${found.pipeline} (${found.kind}, ${found.family})`]
      : ['kind', `${found.kind} (${found.family})`],
    ...found.components.map((component): [string, string] => [
      component.name,
      `${component.className}, ${countText(component.parameters)} parameters, ${component.dtypes.join(' and ')}, ${bytesText(component.bytes).trim()}`,
    ]),
    ['all', `${countText(found.parameters)} parameters, ${bytesText(found.memoryBytes).trim()} loaded`],
  ];
  if ('pipeline' in found) {
    const { width, height } = found.defaultSize;
    rows.push(
      ['scheduler', found.scheduler],
      ['size', `${width}x${height}`],
      ['latents', `${found.latentChannels} channels, ${found.pixelsPerLatent} pixels each`],
    );
  }
  if (found.hash) rows.push(['hash', found.hash]);
  return rows.map(([name, text]) => `${name.padEnd(16)} ${text}`);
}
