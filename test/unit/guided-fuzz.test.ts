import { expect, it } from 'vitest';
import { explore } from '../fuzz/guided.ts';

// The loop of npm run fuzz, over counters as Istanbul would keep them.

/** Fails for what begins with a word, which it compares letter by letter, and for no other input. */
function lock(word: string) {
  const counters = [Array.from(word, () => 0)];
  const fuzz = (bytes: Buffer) => {
    for (const [i, letter] of [...word].entries()) {
      if (bytes[i] !== letter.charCodeAt(0)) return;
      counters[0]![i]!++;
    }
    throw new Error('open');
  };
  return { counters, fuzz };
}

const silent = { seeds: [], words: [], seed: 1, onRun() {}, onNew() {} };

it('finds its way from branch to branch, and stops at a fault', async () => {
  const inputs: string[] = [];
  const explored = explore({
    ...{ ...silent, ...lock('RIFF') },
    isOver: (runs) => runs > 2_000_000,
    onNew: (input) => inputs.push(input.toString('latin1')),
  });
  await expect(explored).rejects.toThrow('open');
  // Each begins with one letter more than the one before it.
  expect(inputs.map((input) => /^R?I?F?/.exec(input)![0])).toEqual(
    expect.arrayContaining(['R', 'RI', 'RIF']),
  );
});

it('waits for what takes time, begins with the seeds, and counts', async () => {
  const { counters, fuzz } = lock('RIFF');
  const seen: string[] = [];
  const result = await explore({
    ...{ ...silent, counters, seeds: [Buffer.from('RIF')] },
    fuzz: async (bytes) => {
      await Promise.resolve();
      fuzz(bytes.subarray(0, 3));
    },
    isOver: (runs) => runs >= 20,
    onRun: (input) => seen.push(input.toString('latin1')),
  });
  expect(seen.slice(0, 2)).toEqual(['', 'RIF']);
  expect(result).toEqual({ runs: 20, kept: 2, reached: 3 });
});
