import { expect, it } from 'vitest';
import { Drill, type Scenario } from '../../bench/drill/drill.ts';

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
