import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT } from '../root.ts';

const FLAGS: Record<string, string[]> = {
  avx512: ['-mavx512f', '-mfma'],
  avx2: ['-mavx2', '-mfma'],
};

/**
 * FLOP/s that the vector units of some threads do at most, measured.
 * @param arch an instruction set of ours; what is not known here is every processor's of this architecture.
 * @throws Error where there is no C++ compiler.
 */
export function fmaPeak(arch: string, threads: number): number {
  const program = join(ROOT, `bench/build/fma-peak-${arch}`);
  mkdirSync(dirname(program), { recursive: true });
  const source = join(ROOT, 'bench/cpu/fma-peak.cc');
  const flags = ['-std=c++20', '-O3', '-ffp-contract=fast', ...(FLAGS[arch] ?? []), '-pthread'];
  execFileSync(process.env.CXX || 'g++', [...flags, source, '-o', program]);
  return Number(execFileSync(program, [String(threads)], { encoding: 'utf8' }));
}
