import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { InvalidArgumentError } from 'commander';
import { ROOT } from './root.ts';

/** What a figure means nothing without. */
export interface Circumstances {
  date: string;
  commit: string;
  machine: string;
  node: string;
  /** Of the last minute, before the run: other processes make times too long. */
  loadBefore: number;
  command: string;
}

/** To be called before anything is measured. */
export function circumstances(): Circumstances {
  // Threads that wait for each other lose far more than their share to another busy process.
  const busy = loadavg()[0]!;
  if (busy > 0.5) console.error(`Other processes are busy (load ${busy.toFixed(2)}): times will be too long`);
  return {
    date: new Date().toISOString(),
    // Results of other measurements, written and not yet committed, change nothing of what is measured.
    commit:
      git('rev-parse', '--short', 'HEAD') +
      (git('status', '--porcelain', '--', '.', ':!bench/results') ? ' with changes' : ''),
    machine: `${cpus()[0]?.model}, ${cpus().length} logical cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
    node: process.version,
    loadBefore: busy,
    command: `npm run bench -- ${process.argv.slice(2).join(' ')}`.trim(),
  };
}

/** Rows of cells as text, the first column to the left, numbers to the right. */
export function textTable(head: string[], rows: string[][]): string {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i]?.length ?? 0)));
  const line = (cells: string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  return [head, ...rows].map(line).join('\n');
}

export function writeReport(report: object, file: string | undefined): void {
  const json = `${JSON.stringify(report, null, 2)}\n`;
  if (file) writeFileSync(file, json);
  else process.stdout.write(json);
}

/** An option's whole number from 1. */
export function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('Expected a whole number from 1.');
  return value;
}

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    // A copy without its repository says where it came from.
    return args[0] === 'rev-parse' ? (process.env.LATENT_EDGE_COMMIT ?? '') : '';
  }
}
