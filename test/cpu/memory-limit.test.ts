import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const main = `
  #include <cstdio>
  #include "topology.h"
  int main(int, char** argv) {
    std::printf("%lld", static_cast<long long>(latent_edge::memory_limit(argv[1], argv[2])));
  }`;

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'latent-edge-'));
  const addon = fileURLToPath(new URL('../../cuda/addon', import.meta.url));
  writeFileSync(join(home, 'main.cc'), main);
  const args = ['-std=c++20', '-I', addon, join(home, 'main.cc'), join(addon, 'topology.cc')];
  const { status, stderr } = spawnSync(process.env.CXX || 'g++', [...args, '-o', join(home, 'limit')], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const files = {
    'v2/memory.max': 'max',
    'v2/a/memory.max': '4000000000',
    'v2/a/b/memory.max': '5000000000',
    'v1/memory/memory.limit_in_bytes': '9223372036854771712',
    'v1/memory/a/memory.limit_in_bytes': '3000000000',
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(home, name, '..'), { recursive: true });
    writeFileSync(join(home, name), `${text}\n`);
  }
}, 60_000);
afterAll(() => rmSync(home, { recursive: true }));

test.each([
  ['version 2, the least of a group and those above it', 'v2', '0::/a/b\n', 4000000000],
  ['version 2, without a limit', 'v2', '0::/\n', 0],
  ['version 2, a group outside of the namespace', 'v2', '0::/../x\n', 0],
  ['version 1', 'v1', '5:cpu,cpuacct:/z\n4:memory:/a\n0::/\n', 3000000000],
  ['version 1, seen as the root from within', 'v1', '4:memory:/elsewhere\n', 9223372036854771712n],
  ['none', 'nowhere', '0::/a\n', 0],
  ['damaged', 'v2', 'x\n::\n', 0],
])('%s', (_, root, membership, bytes) => {
  const { stdout } = spawnSync(join(home, 'limit'), [membership, join(home, root)], { encoding: 'utf8' });
  expect(stdout).toBe(String(bytes));
});
