#!/usr/bin/env node
// Installs and builds what is missing or out of date: packages, types of the contract, the native addon, dist/.
// Says nothing when there is nothing to do. Plain JavaScript without dependencies, as it runs before any is there.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const at = (...path) => join(root, ...path);

/**
 * Brings the checkout to where it can run and be tested.
 * @param {(line: string) => void} [say] receives one line for each thing that is done
 * @param {{ gpu?: boolean }} [options] gpu: CUDA kernels also where no GPU is seen
 * @throws Error with the output of the command that failed
 */
export async function setup(say = console.log, { gpu = false } = {}) {
  checkNode();
  // npm writes this file at the end of every install.
  if (newest(at('package-lock.json')) > newest(at('node_modules/.package-lock.json'))) {
    say('Installing packages (npm ci)');
    npm('ci');
  }
  const contract = Math.max(newest(at('proto/latentedge')), newest(at('proto/descriptor.mjs')));
  if (contract > oldest(at('proto/gen'))) {
    say('Generating the types of the contract');
    npm('run', '--silent', 'build:proto');
  }
  const { buildAddon } = await import('../../cuda/build.mjs');
  await buildAddon({
    gpu,
    starting: (kernels) =>
      say(`Building the native addon (${kernels ? 'with CUDA kernels: some minutes' : 'a minute or two'})`),
  });
  const page = ['index.html', 'icon.svg', 'build.mjs', 'client', 'style'].map((name) =>
    at('edge/playground', name),
  );
  if (Math.max(...page.map(newest)) > oldest(at('edge/playground/gen'))) {
    say('Packing the playground');
    npm('run', '--silent', 'build:playground');
  }
  const sources = ['edge', 'sidecar', 'proto', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'];
  // The compiler's own record is no sign of success: it is written beside errors too.
  const compiled = at('dist/.compiled');
  if (Math.max(...sources.map((path) => newest(at(path)))) > newest(compiled)) {
    say('Compiling TypeScript');
    npm('run', '--silent', 'build:ts');
    writeFileSync(compiled, '');
  }
}

/** What deploying to Workers, and the tests on workerd, take besides. */
export async function setupWorkers(say = console.log) {
  if (
    newest(at('edge/workers/package-lock.json')) <= newest(at('edge/workers/node_modules/.package-lock.json'))
  )
    return;
  say('Installing wrangler and workerd (npm ci in edge/workers)');
  npm('ci', '--prefix', at('edge/workers'));
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 15))
    throw new Error(`latent-edge needs Node.js 20.15 or later but this is ${process.versions.node}`);
}

function npm(...args) {
  // Set by npm itself in its scripts; a shell would be needed for npm's own launcher on some systems.
  const cli = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined;
  const [command, ...rest] = cli ? [process.execPath, cli, ...args] : ['npm', ...args];
  const { status, stdout, stderr, error } = spawnSync(command, rest, { cwd: root, encoding: 'utf8' });
  if (error) throw new Error(`Cannot run npm: ${error.message}`);
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed:\n${stdout}${stderr}`.trimEnd());
}

/** Latest modification (ms) in a file or folder; 0 where there is none. */
function newest(path) {
  return times(path).reduce((a, b) => Math.max(a, b), 0);
}

/** Earliest modification (ms) of a file, or of any file in a folder; 0 where there is none. */
function oldest(path) {
  const all = times(path);
  return all.length === 0 ? 0 : all.reduce((a, b) => Math.min(a, b));
}

function times(path) {
  if (!existsSync(path)) return [];
  const status = statSync(path);
  if (!status.isDirectory()) return [status.mtimeMs];
  const names = readdirSync(path).filter((name) => name !== 'node_modules');
  return names.flatMap((name) => times(join(path, name)));
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    await setup(console.log, { gpu: process.argv.includes('--gpu') });
    if (process.argv.includes('--workers')) await setupWorkers();
    // There is no workerd for every machine; the tests on it say that they are skipped.
    if (process.argv.includes('--test')) await setupWorkers().catch((error) => console.error(error.message));
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
