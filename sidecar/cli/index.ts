import { existsSync, readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { toServiceError } from '../errors.ts';
import { LOST } from './status.ts';

/**
 * What each command is for, and what gives it its options. Only those that are named are loaded: with most comes the
 * engine, and with that a second.
 */
const commands: [name: string, description: string, load: () => Promise<(command: Command) => unknown>][] = [
  [
    'serve',
    'serve images over gRPC; docs/settings.md has what is set by variables and a file alone',
    async () => (await import('./serve.ts')).serveCommand,
  ],
  ['generate', 'make images, without a server', async () => (await import('./generate.ts')).generateCommand],
  [
    'models',
    'list the models that can be named; inspect one, or pull one from the hub',
    async () => (await import('./models/index.ts')).modelsCommand,
  ],
  [
    'devices',
    'list the devices this build can use',
    async () => (await import('./devices.ts')).devicesCommand,
  ],
  [
    'doctor',
    'look at the addon, the driver, the devices and their kernels, and say what to do',
    async () => (await import('./doctor.ts')).doctorCommand,
  ],
  [
    'preprocess',
    'make the hint of a picture that a ControlNet looks at',
    async () => (await import('./preprocess.ts')).preprocessCommand,
  ],
  [
    'module',
    'run one component of a model on tensors from a file, to compare it with another implementation',
    async () => (await import('./module.ts')).moduleCommand,
  ],
];

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
  for (const [name, description, load] of commands) {
    const command = new Command(name).description(description);
    if (args.includes(name)) (await load())(command);
    program.addCommand(command);
  }
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
    const isHidden = error.code === 'internal' || error.code === 'device_lost';
    const shown = isHidden && thrown instanceof Error ? thrown : error;
    console.error(`latent-edge: ${shown.message}`);
    if (process.env.LATENT_EDGE_DEBUG) console.error(shown);
    return error.code === 'device_lost' ? LOST : 1;
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
