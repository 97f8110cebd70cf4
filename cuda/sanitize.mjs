// Runs the addon's tests with the sanitized build: node cuda/build.mjs --asan [--emulator] --test
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * @param {{ emulator?: boolean, args?: string[] }} [options] emulator: the emulated CUDA backend's tests instead of the
 *   CPU's; args: vitest's
 * @returns {Promise<number>} exit status: 0 where the tests pass and no sanitizer reports
 */
export async function testSanitized({ emulator = false, args = [] } = {}) {
  const cxx = process.env.CXX || 'g++';
  const runtime = spawnSync(cxx, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim();
  if (!isAbsolute(runtime))
    throw new Error(`Expected a compiler with libasan.so for CXX but received ${cxx}`);
  const logs = mkdtempSync(join(tmpdir(), 'latent-edge-asan-'));
  const options = [
    `log_path=${join(logs, 'report')}`,
    // Node leaves memory behind when it exits, so leaks alone do not fail a process; reportsOf picks ours.
    'detect_leaks=1',
    'exitcode=0',
    'allocator_may_return_null=1',
    'detect_stack_use_after_return=1',
  ];
  try {
    const tests = spawn(
      process.execPath,
      [
        join(root, 'node_modules/vitest/vitest.mjs'),
        ...['run', '--pool', 'forks', '--testTimeout', '600000', ...args],
        ...(emulator
          ? [
              '--project',
              'emulator',
              'test/emulator/ops',
              'test/emulator/program',
              'test/emulator/weights',
              'test/emulator/providers',
              'test/emulator/vendors',
            ]
          : ['--project', 'cpu', 'test/cpu/ops', 'test/cpu/addon']),
      ],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          ...process.env,
          LD_PRELOAD: runtime,
          ASAN_OPTIONS: options.join(':'),
          UBSAN_OPTIONS: 'print_stacktrace=1',
          LATENT_EDGE_ADDON: join(root, `cuda/build/asan/${emulator ? 'emulator/' : ''}latent_edge.node`),
        },
      },
    );
    // Undefined behaviour is told on standard error, whatever the options say.
    let undefinedBehaviour = 0;
    for (const [from, to] of [
      [tests.stdout, process.stdout],
      [tests.stderr, process.stderr],
    ])
      from.setEncoding('utf8').on('data', (text) => {
        undefinedBehaviour += text.split('runtime error:').length - 1;
        to.write(text);
      });
    const [status] = await once(tests, 'close');
    const reports = readdirSync(logs).flatMap((name) => reportsOf(readFileSync(join(logs, name), 'utf8')));
    for (const report of reports) console.error(report);
    const count = reports.length + undefinedBehaviour;
    if (count > 0) console.error(`${count} sanitizer report(s)`);
    return count > 0 ? 1 : (status ?? 1);
  } finally {
    rmSync(logs, { recursive: true, force: true });
  }
}

/** What a log says about the addon: every error, and the leaks of memory that the addon's own code allocated. */
function reportsOf(log) {
  const [errors, leaks] = log.split(/^.*ERROR: LeakSanitizer.*$/m);
  const found = /ERROR: AddressSanitizer/.test(errors) ? [errors] : [];
  for (const leak of (leaks ?? '').split('\n\n')) {
    const owner = leak
      .split('\n')
      .find((line) => /^\s+#\d+ /.test(line) && !/libsanitizer|libasan|libstdc\+\+/.test(line));
    if (owner && /latent_edge\.node|(addon|cpu)\/\w+\.(cc|h)/.test(owner)) found.push(leak);
  }
  return found;
}
