#!/usr/bin/env node
// Coverage-guided fuzzing: npm run fuzz -- TARGET --seconds N. In TypeScript by Jazzer.js, which is installed here on
// first use; in C++ by libFuzzer under AddressSanitizer and UBSan, which takes clang. What has been found on the way is
// kept in test/.cache/fuzz/TARGET/corpus; an input that fails beside it.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { buildNative, nativeSeeds, nativeTargets } from '../../cuda/fuzz/build.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const at = (...path) => join(root, ...path);
process.chdir(root);
const targets = readdirSync(at('test/fuzz/targets')).map((name) => name.replace(/\.ts$/, ''));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' } },
});
const [name] = positionals;
const seconds = Number(values.seconds);
if (![...targets, ...nativeTargets].includes(name) || !(seconds > 0)) {
  console.error(`npm run fuzz -- ${[...targets, ...nativeTargets].join('|')} [--seconds 60]`);
  process.exit(2);
}
const folder = at('test/.cache/fuzz', name);
const corpus = join(folder, 'corpus');
mkdirSync(corpus, { recursive: true });
const limits = [
  `-max_total_time=${seconds}`,
  `-artifact_prefix=${folder}/`,
  '-timeout=20',
  '-print_final_stats=1',
];

try {
  process.exitCode = nativeTargets.includes(name) ? await native() : await javascript();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

async function javascript() {
  if (!existsSync(at('test/fuzz/node_modules/@jazzer.js/core')))
    run('npm', ['ci', '--prefix', at('test/fuzz')], { stdio: ['ignore', 'ignore', 'inherit'] });
  // One file, of which every branch counts.
  const entry = join(folder, `${name}.cjs`);
  await build({
    ...{ entryPoints: [at('test/fuzz/targets', `${name}.ts`)], outfile: entry, absWorkingDir: root },
    ...{ bundle: true, platform: 'node', format: 'cjs', external: ['sharp', '*.node'], logLevel: 'error' },
    // What the sources ask of where they lie.
    define: { 'import.meta.url': JSON.stringify(pathToFileURL(at('sidecar/errors.ts')).href) },
  });
  const { seeds } = (await import(pathToFileURL(entry).href)).default;
  keep(await seeds());
  const isSync = !['picture'].includes(name);
  return run(process.execPath, [
    at('test/fuzz/node_modules/@jazzer.js/core/dist/cli.js'),
    ...[entry, corpus, '--includes', entry, ...(isSync ? ['--sync'] : []), '--', ...limits],
  ]);
}

async function native() {
  const program = buildNative(name);
  keep(await nativeSeeds(name));
  return run(program, [corpus, ...limits, '-max_len=4096', '-rss_limit_mb=4096'], {
    env: { ...process.env, UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' },
  });
}

function keep(seeds) {
  for (const seed of seeds) writeFileSync(join(corpus, createHash('sha1').update(seed).digest('hex')), seed);
}

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (error) throw new Error(`Cannot run ${command}: ${error.message}`);
  return status ?? 1;
}
