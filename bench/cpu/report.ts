import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../root.ts';
import { CASES } from './cases.ts';

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
  /** What does not follow from the rest; written by hand. */
  note?: string;
  /** With its instruction set and how many threads. */
  machine: string;
  /** 10⁹ operations per second that its vector units did at most, of all times that the result was worked on. */
  peak_gflops: number;
  commit: string;
  /** The version of stable-diffusion.cpp, and what it says that it was built for; absent: not measured, or not asked. */
  sdcpp?: string;
  date: string;
  command: string;
  cases: Record<string, CpuCase>;
}

/** A case as it comes from the measurement, with 10⁹ operations per second of ours. */
export type Measured = Omit<CpuCase, 'fraction_of_peak'> & { gflops: number };

/**
 * A result that is begun, with what one before has of the same commit, machine, instruction set and threads, unless
 * that was beside another stable-diffusion.cpp.
 */
export function resumed(begun: CpuReport, before: CpuReport | undefined): CpuReport {
  if (before?.commit !== begun.commit || before.machine !== begun.machine) return begun;
  const { note, peak_gflops, cases, sdcpp = begun.sdcpp } = before;
  if (begun.sdcpp && begun.sdcpp !== sdcpp) return begun;
  return { ...begun, ...(note !== undefined && { note }), ...(sdcpp && { sdcpp }), peak_gflops, cases };
}

/**
 * Puts a case into a result. Every share is one of the highest peak so far: one that another process has lowered would
 * flatter. @param peak that was measured beside it, in 10⁹ operations per second.
 */
export function addCase(report: CpuReport, name: string, { gflops, ...times }: Measured, peak: number): void {
  const before = report.peak_gflops;
  const highest = rounded(Math.max(peak, before), 1);
  for (const known of Object.values(report.cases))
    known.fraction_of_peak = rounded((known.fraction_of_peak * before) / highest, 4);
  report.peak_gflops = highest;
  const cases = { ...report.cases, [name]: { ...times, fraction_of_peak: rounded(gflops / highest, 4) } };
  const order = Object.keys(CASES);
  report.cases = Object.fromEntries(
    Object.entries(cases).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b)),
  );
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

export const CPU_RESULT = join(ROOT, 'bench/results/cpu.json');

export function readCpuReport(file: string): CpuReport {
  return JSON.parse(readFileSync(file, 'utf8')) as CpuReport;
}
