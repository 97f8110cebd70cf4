#!/usr/bin/env node
// Coverage-guided fuzzing: npm run fuzz -- TARGET --seconds N. In TypeScript by the loop of guided.ts over Istanbul's
// counters, installed here on first use; in C++ by libFuzzer under AddressSanitizer and UBSan, which takes clang. What
// has been found on the way is kept in test/.cache/fuzz/TARGET/corpus; an input that fails beside it.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { buildNative, nativeSeeds, nativeTargets } from '../../cuda/fuzz/build.mjs';
import { watch } from './watch.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const at = (...path) => join(root, ...path);
process.chdir(root);
/** Of one input. */
const TIMEOUT_MS = 20_000;
const stdio = ['ignore', 'inherit', 'inherit', 'ipc'];
const targets = readdirSync(at('test/fuzz/targets')).map((name) => name.replace(/\.ts$/, ''));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    // Of the targets in TypeScript: another one goes another way.
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const [name] = positionals;
const seconds = Number(values.seconds);
if (![...targets, ...nativeTargets].includes(name) || !(seconds > 0)) {
  console.error(`npm run fuzz -- ${[...targets, ...nativeTargets].join('|')} [--seconds 60] [--seed N]`);
  process.exit(2);
}
const folder = at('test/.cache/fuzz', name);
const corpus = join(folder, 'corpus');
mkdirSync(corpus, { recursive: true });

try {
  process.exitCode = nativeTargets.includes(name) ? await native() : await typescript();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

async function typescript() {
  if (!existsSync(at('test/fuzz/node_modules/istanbul-lib-instrument')))
    run('npm', ['ci', '--prefix', at('test/fuzz')], { stdio: ['ignore', 'ignore', 'inherit'] });
  const { createInstrumenter } = await import('istanbul-lib-instrument');
  // One file, of which every branch counts.
  const [plain, entry, loop] = ['.plain.cjs', '.cjs', '.loop.mjs'].map((end) => join(folder, name + end));
  const common = { absWorkingDir: root, bundle: true, platform: 'node', logLevel: 'error' };
  await build({
    ...{ ...common, entryPoints: [at('test/fuzz/targets', `${name}.ts`)], outfile: plain, format: 'cjs' },
    external: ['sharp', '*.node'],
    // What the sources ask of where they lie.
    define: { 'import.meta.url': JSON.stringify(pathToFileURL(at('sidecar/errors.ts')).href) },
  });
  const instrumenter = createInstrumenter({ esModules: false, produceSourceMap: false });
  writeFileSync(entry, instrumenter.instrumentSync(readFileSync(plain, 'utf8'), plain));
  await build({ ...common, entryPoints: [at('test/fuzz/loop.ts')], outfile: loop, format: 'esm' });
  return watch(
    spawn(process.execPath, [loop, entry, folder, `${seconds}`, values.seed], { stdio }),
    folder,
    TIMEOUT_MS,
  );
}

async function native() {
  const program = buildNative(name);
  keep(await nativeSeeds(name));
  const limits = [`-max_total_time=${seconds}`, `-timeout=${TIMEOUT_MS / 1000}`, '-max_len=4096'];
  const rest = [`-artifact_prefix=${folder}/`, '-rss_limit_mb=4096', '-print_final_stats=1'];
  return run(program, [corpus, ...limits, ...rest], {
    env: { ...process.env, UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' },
  });
}

function keep(seeds) {
  for (const seed of seeds) writeFileSync(join(corpus, createHash('sha1').update(seed).digest('hex')), seed);
}

function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', ...options });
  // libFuzzer looks at its memory itself; what ends it from outside leaves no input behind.
  if (signal) console.error(`${command} was ended by ${signal}`);
  if (error) throw new Error(`Cannot run ${command}: ${error.message}`);
  return status ?? 1;
}
