import { Command } from 'commander';
import { deviceOptions } from '../sidecar/cli/options.ts';
import { native } from '../sidecar/native.ts';
import { openFeatures } from './features/index.ts';
import { frechetDistance } from './frechet.ts';
import { judge, picturesIn } from './judged.ts';
import { circumstances, writeReport } from './report.ts';

interface Options {
  device?: string;
  threads?: number;
  features: string;
  json?: string;
}

/** `npm run bench -- frechet DIR DIR`: the distance between two folders of pictures. */
export function frechetCommand(): Command {
  const command = new Command('frechet')
    .description('the Fréchet distance between two folders of pictures')
    .argument('<dir>', 'PNG, JPEG and WebP files')
    .argument('<dir>', 'others')
    .requiredOption('--features <dir>', 'the network that judges: config.json and model.safetensors')
    .option('--json <file>', 'write the result there, and not to standard output');
  return deviceOptions(command).action(run);
}

async function run(first: string, second: string, options: Options): Promise<void> {
  const when = circumstances();
  const device = await native().open({ device: options.device ?? 'cpu', threads: options.threads });
  const network = await openFeatures(device, options.features);
  const judged = [];
  for (const dir of [first, second])
    judged.push(
      await judge(
        network,
        (await picturesIn(dir)).map(({ picture }) => picture),
      ),
    );
  const [a, b] = judged as [(typeof judged)[0], (typeof judged)[0]];
  const frechet = frechetDistance(a.gaussian, b.gaussian);
  console.error(`${frechet.toFixed(4)} (${network.name}; ${a.pictures} and ${b.pictures} pictures)`);
  writeReport({ ...when, network: network.name, pictures: [a.pictures, b.pictures], frechet }, options.json);
  await network.dispose();
  await device.dispose();
}
