import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../root.ts';

export interface CpuCase {
  /** Medians. */
  ours_s: number;
  /** null: was not measured. */
  torch_s: number | null;
  sdcpp_s: number | null;
  /** Most memory that our process had at once, in 10⁶ bytes. */
  ours_rss_mb: number;
  /** Our operations per second over what the vector units can do; a product that an algorithm saves counts as done. */
  fraction_of_peak: number;
}

/** `bench/results/cpu.json`. */
export interface CpuReport {
  machine: string;
  commit: string;
  date: string;
  command: string;
  cases: Record<string, CpuCase>;
}

export const CPU_RESULT = join(ROOT, 'bench/results/cpu.json');

export function readCpuReport(file: string): CpuReport {
  return JSON.parse(readFileSync(file, 'utf8')) as CpuReport;
}
