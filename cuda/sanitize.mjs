// Runs the addon's tests with the sanitized build: node cuda/build.mjs --asan --test
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** @returns {number} exit status: 0 where the tests pass and no sanitizer reports */
export function testSanitized() {
  const cxx = process.env.CXX || 'g++';
  const runtime = spawnSync(cxx, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim();
  const logs = mkdtempSync(join(tmpdir(), 'latent-edge-asan-'));
  const options = [
    `log_path=${join(logs, 'report')}`,
    // Node itself keeps memory until it exits, so leaks are looked for by the memory account's tests instead.
    'detect_leaks=0',
    'abort_on_error=0',
    'allocator_may_return_null=1',
    'detect_stack_use_after_return=1',
  ];
  try {
    const { status } = spawnSync(
      process.execPath,
      [
        join(root, 'node_modules/vitest/vitest.mjs'),
        ...['run', '--project', 'cpu', '--pool', 'forks', '--maxWorkers', '1', '--no-file-parallelism'],
        ...['--testTimeout', '600000', 'test/cpu/ops', 'test/cpu/addon'],
      ],
      {
        cwd: root,
        stdio: 'inherit',
        env: {
          ...process.env,
          LD_PRELOAD: runtime,
          ASAN_OPTIONS: options.join(':'),
          UBSAN_OPTIONS: `print_stacktrace=1:log_path=${join(logs, 'report')}`,
          LATENT_EDGE_ADDON: join(root, 'cuda/build/asan/latent_edge.node'),
        },
      },
    );
    const reports = existsSync(logs) ? readdirSync(logs) : [];
    for (const report of reports) console.error(readFileSync(join(logs, report), 'utf8'));
    if (reports.length > 0) console.error(`${reports.length} sanitizer report(s)`);
    return reports.length > 0 ? 1 : (status ?? 1);
  } finally {
    rmSync(logs, { recursive: true, force: true });
  }
}
