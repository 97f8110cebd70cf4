import type { Command } from 'commander';
import { native } from '../native.ts';

export function devicesCommand(command: Command): Command {
  return command.action(() => {
    for (const { id, name, arch, threads, memoryBytes } of native().devices()) {
      const parts = [
        name,
        arch,
        threads > 0 ? `${threads} threads` : '',
        `${(memoryBytes / 2 ** 30).toFixed(1)} GiB`,
      ];
      console.log(`${id.padEnd(14)} ${parts.filter(Boolean).join(', ')}`);
    }
  });
}
