// Packs what a machine with a GPU, a CUDA toolkit and Python with torch needs to test and time the CUDA backend, where
// there is neither Node nor a registry: npm run pack:gpu, then copy cuda/build/pack there and run.sh in it.
//   node.xz     this Node, stripped
//   tree.tar.xz sources, compiled TypeScript, packages, and the addon where this build has CUDA kernels
//   run.sh      see there
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const LIMIT = 64 * 2 ** 20;

/** Of the checkout, by git's patterns; tests of other projects, docs and most of the edge's sources stay behind. */
const SOURCES = [
  ...[
    'cuda',
    'sidecar',
    'proto',
    'bench',
    'test/gpu',
    'test/support',
    'test/fixtures',
    'models/clip-vocabulary',
  ],
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts'],
  ...['edge/allocator.json', 'edge/playground/icon.svg'],
];
const BUILT = [
  'dist/bench',
  'dist/edge',
  'dist/sidecar',
  'dist/proto',
  'dist/test',
  'proto/gen',
  'cuda/build/latent_edge.node',
];
/** Fixtures that the GPU's tests do not read. */
const LEFT_OUT = [/^test\/fixtures\/(hints|loras|single-files|plans|cases\/(pipeline|sampler)-)/];

/** @returns {string} the folder */
export function pack() {
  const out = join(root, 'cuda/build/pack');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });

  const node = join(out, 'node');
  copyFileSync(process.execPath, node);
  spawnSync('strip', [node]);
  execFileSync('xz', ['-6', '-T0', node]);

  const list = execFileSync('git', ['ls-files', '-z', '-c', '-o', '--exclude-standard', '--', ...SOURCES], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\0')
    .filter(
      (path) => path && existsSync(join(root, path)) && !LEFT_OUT.some((pattern) => pattern.test(path)),
    );
  const names = [...list, ...BUILT.filter((path) => existsSync(join(root, path))), ...packages()];
  const file = join(out, 'files');
  writeFileSync(file, names.join('\0'));
  const tree = join(out, 'tree.tar.xz');
  const skip = ['--exclude=*.map', '--exclude=*.d.ts', '--exclude=*.tsbuildinfo'];
  execFileSync('tar', [...skip, '-C', root, '-cf', join(out, 'tree.tar'), '--null', '-T', file]);
  execFileSync('xz', ['-6', '-T0', join(out, 'tree.tar')]);
  rmSync(file);

  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  }).trim();
  writeFileSync(join(out, 'commit'), `${commit}\n`);
  copyFileSync(join(root, 'cuda/pack/run.sh'), join(out, 'run.sh'));

  const bytes = [`${node}.xz`, tree].reduce((sum, path) => sum + statSync(path).size, 0);
  if (bytes > LIMIT)
    throw new Error(
      `Expected at most ${LIMIT / 2 ** 20} MiB but the pack has ${(bytes / 2 ** 20).toFixed(1)}`,
    );
  console.log(`${out}: ${(bytes / 2 ** 20).toFixed(1)} MiB; on the other machine: OUT=results bash run.sh`);
  return out;
}

/** Folders of the packages that the sidecar and vitest need, and of all that these need. */
function packages() {
  const found = new Set();
  const visit = (name, from) => {
    for (let dir = from; ; dir = dirname(dir)) {
      const path = join(dir, 'node_modules', name);
      if (existsSync(join(root, path, 'package.json'))) {
        if (found.has(path)) return;
        found.add(path);
        const { dependencies, optionalDependencies } = JSON.parse(
          readFileSync(join(root, path, 'package.json'), 'utf8'),
        );
        for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) visit(next, path);
        return;
      }
      if (dir === '.' || dir === '') return; // optional, and of another system
    }
  };
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const name of [...Object.keys(dependencies), 'vitest', 'ml-matrix', 'fast-check', 'autocannon'])
    visit(name, '.');
  return [...found];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    pack();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
