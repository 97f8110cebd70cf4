import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkValues } from '../../edge/json-values.ts';

describe('checkValues', () => {
  it('takes what is small, whatever its texts are', () => {
    const text = fc.string({ unit: fc.constantFrom('"', '\\', ',', '[', '{', '}', 'a'), maxLength: 50 });
    const value = fc.jsonValue({ maxDepth: 3 });
    fc.assert(
      fc.property(text, value, (text, value) =>
        checkValues(JSON.stringify({ text: text.repeat(500), value })),
      ),
    );
  });

  it('takes 8 ControlNets with a scale for each of 1000 steps', () => {
    const unit = { model: 'a', scale: Array(1000).fill(0.5) };
    checkValues(JSON.stringify({ prompt: 'x', control: Array(8).fill(unit) }));
  });

  it.each([
    ['fields', JSON.stringify(Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`f${i}`, 1])))],
    ['items', JSON.stringify({ a: Array(10_001).fill('",') })],
    ['empty items', `{"control":[${'{},'.repeat(5001)}{}]}`],
  ])('refuses too many %s', (_, text) => {
    expect(() => checkValues(text)).toThrow('at most 10000 values');
  });

  it('counts the texts of a form together', () => {
    const half = JSON.stringify(Array(6000).fill(1));
    checkValues(half);
    expect(() => checkValues(half, half)).toThrow('at most 10000 values');
  });

  it('refuses what is too deep', () => {
    checkValues('['.repeat(32));
    for (const open of ['[', '{"a":', '[{"a\\"":'])
      expect(() => checkValues(open.repeat(33))).toThrow('32 levels');
  });

  it('comes to an end of texts that are no JSON', () => {
    for (const text of ['"', '"\\', '"\\"', '\\"', '}}}]]]', '"'.repeat(99_999), '\\"'.repeat(99_999)])
      checkValues(text);
  });
});
