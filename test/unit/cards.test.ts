import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { cardFigures } from '../../bench/cards.ts';

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');

test.each(Object.entries(cardFigures()))('%s has the figures of models/metrics.json', (file, figures) => {
  expect(read(file), 'npm run bench -- cards').toContain(`<!-- figures -->\n${figures}\n<!-- /figures -->`);
});

test('a gate is reached where its value is as wanted', () => {
  const { gates, ...metrics } = JSON.parse(read('models/metrics.json'));
  const holds: Record<string, (a: number, b: number) => boolean> = {
    ...{ '>=': (a, b) => a >= b, '<=': (a, b) => a <= b, '<': (a, b) => a < b },
  };
  for (const { name, wanted, value, reached } of gates) {
    const [sign, bound] = wanted.split(' ');
    expect(reached, name).toBe(holds[sign]!(value, Number(bound)));
    if (name in metrics) expect(value, name).toBe(metrics[name]);
  }
});
