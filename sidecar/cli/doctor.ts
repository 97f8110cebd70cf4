import { type Command, Option } from 'commander';
import { type CheckUpOptions, checkUp } from '../doctor/check-up.ts';
import { runTimeoutOption } from './options.ts';

export function doctorCommand(command: Command): Command {
  return command
    .addOption(new Option('--device <id>', 'this one alone (default: the CPU and every GPU)'))
    .addOption(new Option('--dtype <name>', 'what to compute in').choices(['f32', 'f16', 'bf16']))
    .addOption(runTimeoutOption())
    .action(async (options: CheckUpOptions) => {
      for await (const { name, ok, detail, advice } of checkUp(options)) {
        console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}: ${detail}${advice ? `\n     → ${advice}` : ''}`);
        if (!ok) process.exitCode = 1;
      }
    });
}
