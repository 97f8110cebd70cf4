import { existsSync, readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { toServiceError } from '../errors.ts';
import { devicesCommand } from './devices.ts';
import { doctorCommand } from './doctor.ts';
import { generateCommand } from './generate.ts';
import { modelsCommand } from './models/index.ts';
import { moduleCommand } from './module.ts';
import { preprocessCommand } from './preprocess.ts';
import { serveCommand } from './serve.ts';

/**
 * Runs the command line.
 * @param args what comes after the program's name.
 * @returns the exit status.
 */
export async function main(args: string[]): Promise<number> {
  const program = new Command('latent-edge')
    .description('Text in, image out, on your own devices')
    // What stands after a command is that command's.
    .enablePositionalOptions()
    .version(packageVersion(), '--version', 'print the version')
    .showHelpAfterError('(--help says more)')
    .configureHelp({ showGlobalOptions: true });
  for (const command of [
    serveCommand(),
    generateCommand(),
    modelsCommand(),
    devicesCommand(),
    doctorCommand(),
    preprocessCommand(),
    moduleCommand(),
  ])
    program.addCommand(command);
  everyCommand(program, (command) => command.exitOverride());
  try {
    await program.parseAsync(args, { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (thrown) {
    // It has been said: what is wrong with the arguments, or the help that was asked for. What a command itself
    // throws has not.
    if (thrown instanceof CommanderError && !(thrown instanceof InvalidArgumentError)) return thrown.exitCode;
    const error = toServiceError(thrown);
    // Here the operator reads, and is told what was hidden from a remote caller.
    const shown = error.code === 'internal' && thrown instanceof Error ? thrown : error;
    console.error(`latent-edge: ${shown.message}`);
    if (process.env.LATENT_EDGE_DEBUG) console.error(shown);
    return 1;
  }
}

function everyCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) everyCommand(child, visit);
}

// From sources (sidecar/cli) and from the build (dist/sidecar/cli).
function packageVersion(): string {
  const files = ['../../package.json', '../../../package.json'].map((path) => new URL(path, import.meta.url));
  const file = files.find((path) => existsSync(path));
  return file ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version : 'unknown';
}
