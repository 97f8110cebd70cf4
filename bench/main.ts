// npm run bench -- [COMMAND] [options]; see docs/testing.md
import { Command } from 'commander';
import { cardsCommand } from './cards.ts';
import { controlCommand } from './control.ts';
import { cpuCommand, cpuPageCommand } from './cpu/index.ts';
import { edgeCommand } from './edge/index.ts';
import { frechetCommand } from './frechet-command.ts';
import { gpuCommand, gpuPageCommand } from './gpu.ts';
import { mixedCommand } from './mixed.ts';
import { modulesCommand } from './modules.ts';
import { qualityCommand } from './quality.ts';
import { turboCommand } from './turbo.ts';

await new Command('bench')
  .description('Measures the engine.')
  .addCommand(modulesCommand(), { isDefault: true })
  .addCommand(cpuCommand())
  .addCommand(cpuPageCommand())
  .addCommand(gpuCommand())
  .addCommand(gpuPageCommand())
  .addCommand(turboCommand())
  .addCommand(mixedCommand())
  .addCommand(qualityCommand())
  .addCommand(controlCommand())
  .addCommand(edgeCommand())
  .addCommand(frechetCommand())
  .addCommand(cardsCommand())
  .parseAsync();
