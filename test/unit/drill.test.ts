import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runAll } from '../../bench/drill/at-once.ts';
import { Drill, type Scenario } from '../../bench/drill/drill.ts';
import { writePage } from '../../bench/drill/page.ts';

/** Breaks its second promise so many times. */
function breaking(times: number): Scenario {
  let runs = 0;
  return {
    name: 'breaking',
    title: 'Something breaks',
    async run(drill) {
      runs++;
      drill.promise('one', 'it is', true);
      drill.promise('two', `run ${runs}`, runs > times);
      if (runs <= times) throw new Error('And it does not go on');
    },
  };
}

it.each([
  [0, 0, ['one yes', 'two yes'], 0],
  [1, 0, ['one yes', 'two no', 'the drill goes on no'], 0],
  [1, 1, ['one yes', 'two yes'], 1],
  [2, 1, ['one yes', 'two no', 'the drill goes on no'], 1],
])('breaks %i times, is tried %i times more: %j', async (times, retries, outcomes, retried) => {
  const lines: string[] = [];
  const drill = new Drill({ isShort: true, hasNetworks: false, say: (line) => lines.push(line) });
  await drill.run(breaking(times), retries);
  const kept = (isKept: boolean) => (isKept ? 'yes' : 'no');
  expect(drill.outcomes.map(({ promised, isKept }) => `${promised} ${kept(isKept)}`)).toEqual(outcomes);
  expect(drill.retried).toEqual(Array(retried).fill('breaking'));
  expect(lines.filter((line) => line.includes('(retry)'))).toHaveLength(retried);
});

const answer = { model: 'm', steps: 1, seed: 0, ms: 1 };

it.each([
  ['a request that is lost stays lost', { ...answer, status: 0, code: 'lost' }, 1],
  ['so does a picture that is another’s', { ...answer, status: 200, code: 'ok', sha256: 'of another' }, 1],
  ['an error that was not promised may be chance', { ...answer, status: 503, code: 'busy' }, 2],
])('%s', async (_, received, times) => {
  let runs = 0;
  const scenario: Scenario = {
    ...{ name: 'x', title: 'X' },
    run: async (drill) => drill.answered(++runs === 1 ? [received] : []),
  };
  const drill = new Drill({ isShort: true, hasNetworks: false, say: () => {} });
  await drill.run(scenario, 1);
  expect(runs).toBe(times);
  expect(drill.outcomes.every(({ isKept }) => isKept)).toBe(times === 2);
});

it.each([
  [1, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends', 'd begins', 'd ends']],
  [2, ['a begins', 'b begins', 'b ends', 'c begins', 'a ends', 'd begins', 'c ends', 'd ends']],
])('scenarios run %i at once', async (atOnce, expected) => {
  const told: string[] = [];
  const said: string[] = [];
  const ends: Record<string, () => void> = {};
  const scenario = (name: string): Scenario => ({
    ...{ name, title: `Of ${name}` },
    async run(drill) {
      told.push(`${name} begins`);
      drill.promise(`${name} is first`, 'it is', true);
      const over = new Promise<void>((resolve) => {
        ends[name] = resolve;
      });
      // The second and all after it end as soon as they are two; the first when one has come in the second's place.
      if (atOnce === 1 || name === 'd') ends[name]!();
      if (name === 'b') ends.b!();
      if (name === 'c') ends.a!();
      if (name === 'd') ends.c?.();
      await over;
      told.push(`${name} ends`);
      if (name === 'b') throw new Error('b does not go on');
    },
  });
  const drill = new Drill({ isShort: true, hasNetworks: false, say: (line) => said.push(line) });
  const drills = await runAll(drill, ['a', 'b', 'c', 'd'].map(scenario), { atOnce, retries: 0 });
  expect(told).toEqual(expected);
  const outcomes = drills.flatMap((each) => each.outcomes);
  expect(outcomes.map(({ scenario, isKept }) => [scenario, isKept])).toEqual([
    ['Of a', true],
    ['Of b', true],
    ['Of b', false],
    ['Of c', true],
    ['Of d', true],
  ]);
  // Lines of one stay together.
  const titles = said.join('\n').match(/^Of .|. is first/gm)!;
  for (let i = 0; i < titles.length; i += 2) expect(titles[i + 1]).toBe(`${titles[i]!.at(-1)} is first`);
  expect(titles).toHaveLength(8);
});

it('the page says what was tried again, and that the form was short', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drill-page-'));
  const file = join(folder, 'page.md');
  writeFileSync(file, '# Drill\n<!-- of the drill -->\nold\n<!-- end -->\n');
  const outcome = { scenario: 'X', promised: 'one', happened: 'it is', isKept: true, isFinal: false };
  const when = { date: '2026-01-02T00:00:00Z', commit: 'abc', machine: 'a machine', minutes: '2.0' };
  writePage(file, [outcome], { ...when, isShort: true, retried: ['kill'] });
  expect(readFileSync(file, 'utf8')).toContain(
    '2026-01-02, commit abc, a machine; 2.0 minutes. The short form, of few requests. Tried again, as a promise broke the first time: kill.\n\n### X',
  );
  rmSync(folder, { recursive: true });
});
