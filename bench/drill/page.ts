import { readFileSync, writeFileSync } from 'node:fs';
import type { Circumstances } from '../report.ts';
import type { Outcome } from './drill.ts';

const [BEFORE, AFTER] = ['<!-- of the drill -->\n', '\n<!-- end -->'];

/** Puts the result of a run in its place of a page. */
export function writePage(
  file: string,
  outcomes: readonly Outcome[],
  when: Pick<Circumstances, 'date' | 'commit' | 'machine'> & {
    minutes: string;
    isShort: boolean;
    /** Scenarios that were tried again. */
    retried: readonly string[];
  },
): void {
  const page = readFileSync(file, 'utf8');
  const [from, to] = [page.indexOf(BEFORE), page.indexOf(AFTER)];
  if (from < 0 || to < from) throw new Error(`Expected ${BEFORE.trim()} and ${AFTER.trim()} in ${file}`);
  writeFileSync(file, page.slice(0, from + BEFORE.length) + tables(outcomes, when) + page.slice(to));
}

function tables(outcomes: readonly Outcome[], when: Parameters<typeof writePage>[2]): string {
  const titles = [...new Set(outcomes.map(({ scenario }) => scenario))];
  const parts = titles.map((title) => {
    const rows = outcomes
      .filter(({ scenario }) => scenario === title)
      .map(
        ({ promised, happened, isKept }) => `| ${promised} | ${happened} | ${isKept ? 'yes' : '**no**'} |`,
      );
    return [`### ${title}`, '', '| Promised | Happened | Kept |', '|---|---|---|', ...rows].join('\n');
  });
  const { date, commit, machine, minutes, isShort, retried } = when;
  const head = [
    `${date.slice(0, 10)}, commit ${commit}, ${machine}; ${minutes} minutes.`,
    ...(isShort ? ['The short form, of few requests.'] : []),
    ...(retried.length > 0 ? [`Tried again, as a promise broke the first time: ${retried.join(', ')}.`] : []),
  ].join(' ');
  return [head, ...parts].join('\n\n');
}
