// Builds the native addon with make and a C++ compiler.
//   node cuda/build.mjs          cuda/build/latent_edge.node
//   node cuda/build.mjs --emulator   without CUDA, its kernels on the CPU: cuda/build/emulator/latent_edge.node
//   node cuda/build.mjs --asan   the same with AddressSanitizer and UBSan, cuda/build/asan/latent_edge.node
//   node cuda/build.mjs --asan --test [--retry=1]   … and runs the addon's and the ops' tests in it
//   node cuda/build.mjs --gpu    with CUDA kernels also where no GPU is seen, and from then on; or LATENT_EDGE_GPU=1
//   node cuda/build.mjs --fat    the same, for every architecture, not only this machine's
// CXX chooses the compiler, NVCC the CUDA compiler (NVCC= leaves CUDA out), CUDA_ARCHS what it compiles for ("80 90a").
import { spawnSync } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { testSanitized } from './sanitize.mjs';

const cuda = dirname(fileURLToPath(import.meta.url));

/**
 * Brings the addon up to date; quick when it is.
 * @param {{ asan?: boolean, emulator?: boolean, gpu?: boolean, fat?: boolean, starting?: (kernels: boolean) => void }} [options]
 *   gpu: CUDA kernels, whether or not a GPU is seen; starting is called before anything is built, and told whether they are
 * @returns {Promise<boolean>} whether anything was built
 * @throws Error saying what to install, or with the compiler's output
 */
export async function buildAddon({
  asan = false,
  emulator = false,
  gpu = false,
  fat = false,
  starting = () => {},
} = {}) {
  const cxx = process.env.CXX || 'g++';
  for (const tool of ['make', cxx]) {
    if (spawnSync(tool, ['--version']).error)
      throw new Error(
        `Building the native addon needs ${tool}, which was not found. Install make and g++ ` +
          `(Debian, Ubuntu: apt-get install make g++; Fedora: dnf install make gcc-c++), or set CXX.`,
      );
  }
  // The variants other than asan share objects.
  const unlock = await lock(join(cuda, 'build', asan ? 'asan' : '', 'lock'));
  try {
    const kernels = asan || emulator ? [] : cudaKernels(gpu || fat, fat);
    // Relative paths: make and its dependency files cannot cope with blanks in a checkout's own path.
    const args = [
      `CXX=${cxx}`,
      `NODE_API_HEADERS=${packagePath('node-api-headers', 'include')}`,
      `NODE_ADDON_API=${packagePath('node-addon-api', '')}`,
      ...(asan ? ['SANITIZE=1', 'WERROR=1'] : []),
      ...(emulator ? ['EMULATOR=1'] : []),
      ...(kernels.length > 0 ? kernels : ['NVCC=']),
    ];
    if (spawnSync('make', ['-q', ...args], { cwd: cuda }).status === 0) return false;
    starting(kernels.length > 0);
    const make = spawnSync('make', [`-j${availableParallelism()}`, ...args], { cwd: cuda, encoding: 'utf8' });
    if (make.status !== 0) throw new Error(`make failed in ${cuda}:\n${make.stdout}${make.stderr}`.trimEnd());
    return true;
  } finally {
    unlock();
  }
}

/**
 * What make is told of CUDA: nothing where there are to be no kernels. They take minutes, so they are built where there
 * is a GPU, or where they are asked for; and once they were they go on to be.
 */
function cudaKernels(asked, fat) {
  const { NVCC, CUDA_ARCHS, LATENT_EDGE_GPU } = process.env;
  const file = join(cuda, 'build/gpu');
  const kept = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  const named = asked || Boolean(NVCC || CUDA_ARCHS) || LATENT_EDGE_GPU === '1';
  const gpus = CUDA_ARCHS || fat || kept !== undefined ? [] : capabilities();
  // Empty for "none".
  if (NVCC === '' || LATENT_EDGE_GPU === '0' || !(named || gpus.length > 0 || kept !== undefined)) return [];
  const compiler = nvcc();
  if (!compiler) {
    if (!named) return [];
    throw new Error(
      'Building CUDA kernels needs nvcc, which was not found. Install a CUDA toolkit, or set NVCC.',
    );
  }
  const archs = CUDA_ARCHS ?? (fat ? '80 86 89 90a' : (kept ?? gpus.join(' ')));
  if (named) writeFileSync(file, archs);
  return [`NVCC=${compiler}`, ...(archs ? [`CUDA_ARCHS=${archs}`] : [])];
}

/** The CUDA compiler: NVCC, or where it is found; empty where there is none. */
export function nvcc() {
  return process.env.NVCC ?? (found('nvcc') || found('/usr/local/cuda/bin/nvcc'));
}

/** Where a program is; empty where it is not. */
function found(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).stdout.trim();
}

/** Of this machine's GPUs, as nvcc names them. Without one the Makefile's own are built: sm_80 and PTX. */
function capabilities() {
  const { status, stdout } = spawnSync('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader'], {
    encoding: 'utf8',
  });
  const all = status === 0 ? [...new Set(stdout.match(/\d+\.\d/g))] : [];
  return all.map((each) => each.replace('.', '')).map((arch) => (arch === '90' ? '90a' : arch));
}

function packagePath(name, path) {
  const root = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
  return relative(cuda, join(root, path));
}

/** Waits for another build of the same variant; a lock whose process is gone does not count. */
async function lock(file) {
  mkdirSync(dirname(file), { recursive: true });
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, String(process.pid));
  try {
    return await acquire(mine, file);
  } finally {
    rmSync(mine);
  }
}

async function acquire(mine, file) {
  for (;;) {
    try {
      linkSync(mine, file);
      return () => rmSync(file);
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (!isRunning(file)) rmSync(file, { force: true });
    else await sleep(100);
  }
}

function isRunning(file) {
  try {
    return process.kill(Number(readFileSync(file, 'utf8')), 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const asan = process.argv.includes('--asan');
  const emulator = process.argv.includes('--emulator');
  try {
    const [gpu, fat] = ['--gpu', '--fat'].map((option) => process.argv.includes(option));
    const built = await buildAddon({ asan, emulator, gpu, fat });
    const folder = `${asan ? 'asan/' : ''}${emulator ? 'emulator/' : ''}`;
    console.log(`${built ? 'built' : 'up to date:'} cuda/build/${folder}latent_edge.node`);
    const args = process.argv.filter((arg) => arg.startsWith('--retry'));
    if (asan && process.argv.includes('--test')) process.exitCode = await testSanitized({ emulator, args });
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
