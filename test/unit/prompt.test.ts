import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_WEIGHT, parsePrompt } from '../../sidecar/text/prompt.ts';

/** [text, weight] of each segment, weights rounded; `|` before the text of one that starts a chunk. */
const parsed = (prompt: string) =>
  parsePrompt(prompt).map(({ text, weight, startsChunk }) => [
    startsChunk ? `|${text}` : text,
    Number(weight.toFixed(4)),
  ]);

describe('syntax', () => {
  test.each([
    [
      'a (b) c',
      [
        ['a ', 1],
        ['b', 1.1],
        [' c', 1],
      ],
    ],
    ['((b))', [['b', 1.21]]],
    ['(b:1.3)', [['b', 1.3]]],
    [
      '(b : .5 )c',
      [
        ['b ', 0.5],
        ['c', 1],
      ],
    ],
    [
      '(b:+2)(c:-1)',
      [
        ['b', 2],
        ['c', -1],
      ],
    ],
    ['[b]', [['b', 0.9091]]],
    [
      '[[b] c]',
      [
        ['b', 0.8264],
        [' c', 0.9091],
      ],
    ],
    [
      '(a (b:2) c)',
      [
        ['a ', 1.1],
        ['b', 2.2],
        [' c', 1.1],
      ],
    ],
    [
      '(a [b:3])',
      [
        ['a ', 1.1],
        ['b:3', 1],
      ],
    ],
    ['(at 12:30)', [['at 12', 10]]],
    ['(a:1.0) b', [['a b', 1]]],
    ['a () b', [['a  b', 1]]],
    ['(a)(b)', [['ab', 1.1]]],
    ['\\(a\\) \\[b\\] \\\\ \\x', [['(a) [b] \\ \\x', 1]]],
    ['(a\\))', [['a)', 1.1]]],
    ['', [['', 1]]],
  ])('%j', (prompt, segments) => {
    expect(parsed(prompt)).toEqual(segments);
  });
});

describe('BREAK', () => {
  test.each([
    [
      'a BREAK b',
      [
        ['a ', 1],
        ['| b', 1],
      ],
    ],
    [
      '(a BREAK b:1.3) c',
      [
        ['a ', 1.3],
        ['| b', 1.3],
        [' c', 1],
      ],
    ],
    [
      'BREAK a',
      [
        ['', 1],
        ['| a', 1],
      ],
    ],
    [
      'a BREAK',
      [
        ['a ', 1],
        ['|', 1],
      ],
    ],
    [
      'a BREAK BREAK (b)',
      [
        ['a ', 1],
        ['| ', 1],
        ['| ', 1],
        ['b', 1.1],
      ],
    ],
    [
      'a BREAK(b)',
      [
        ['a ', 1],
        ['|b', 1.1],
      ],
    ],
    ['break BREAKFAST ÜBREAK BREAK_ 2BREAK', [['break BREAKFAST ÜBREAK BREAK_ 2BREAK', 1]]],
  ])('%j', (prompt, segments) => {
    expect(parsed(prompt)).toEqual(segments);
  });
});

describe('what is not syntax is text', () => {
  test.each([
    '((((',
    '))))',
    '(a',
    'a)',
    '(a:',
    '(a:1.3',
    'a:1.3)',
    ']a[',
    'a :) b',
    'a :( b',
    '[a',
    ':',
    '\\',
    '(a\\)',
    '\n\t (',
  ])('%j', (prompt) => {
    const text = prompt.replace('\\)', ')');
    expect(parsePrompt(prompt)).toEqual([{ text, weight: 1 }]);
  });

  test.each([
    ['(a:1e38)', [['a:1e38', 1.1]]],
    ['(a:1.2.3)', [['a:1.2.3', 1.1]]],
    ['(a:.)', [['a:.', 1.1]]],
    ['(a:)', [['a:', 1.1]]],
    ['(a:b)', [['a:b', 1.1]]],
    ['(a [b)', [['a [b', 1.1]]],
    [
      '(a [b) c]',
      [
        ['a [b', 1.1],
        [' c]', 1],
      ],
    ],
    [
      '[a (b] c)',
      [
        ['a (b', 0.9091],
        [' c)', 1],
      ],
    ],
    [
      '((a)',
      [
        ['(', 1],
        ['a', 1.1],
      ],
    ],
  ])('%j', (prompt, segments) => {
    expect(parsed(prompt)).toEqual(segments);
  });
});

test.each([
  [`(a:${'9'.repeat(400)})`, MAX_WEIGHT],
  [`(a:-${'9'.repeat(39)})`, -MAX_WEIGHT],
  [`${'('.repeat(1000)}a${')'.repeat(1000)}`, MAX_WEIGHT],
  [`${'('.repeat(1000)}(a:0)${')'.repeat(1000)}`, 0],
  ['((a:5):5)', MAX_WEIGHT],
])('weights have a bound: %.20s', (prompt, weight) => {
  expect(parsePrompt(prompt)).toEqual([{ text: 'a', weight }]);
});

const size = 2 ** 16;
test.each([
  ['opening', '('.repeat(size)],
  ['closing', ')'.repeat(size)],
  ['nested', '('.repeat(size / 2) + ')'.repeat(size / 2)],
  ['mixed', '(['.repeat(size / 4) + ')'.repeat(size / 2)],
  ['crossed', '[('.repeat(size / 4) + ')]'.repeat(size / 4)],
  ['colons', '(a:'.repeat(size / 3)],
  ['colon and spaces', `(a:${' '.repeat(size)}`],
  ['digits', `(a:${'1'.repeat(size)}`],
  ['digits and spaces', `(a${':1 '.repeat(size / 3)}`],
  ['backslashes', '\\'.repeat(size)],
  ['spaces and BREAK', `${' '.repeat(size)}BREAK`],
  ['BREAKs', ' BREAK'.repeat(size / 6)],
  ['weights', '(a:2)(b:3)'.repeat(size / 10)],
])('64 KB of %s take no time', (_, prompt) => {
  const start = performance.now();
  parsePrompt(prompt);
  // Milliseconds when linear; minutes when quadratic.
  expect(performance.now() - start).toBeLessThan(20_000);
});

describe('properties', () => {
  const hostile = fc
    .array(
      fc.constantFrom('(', ')', '[', ']', ':', '\\', '1.5', '.', '-', ' ', 'a', 'BREAK', '🐙', '\ud800'),
      {
        maxLength: 60,
      },
    )
    .map((parts) => parts.join(''));
  const anything = fc.oneof(hostile, fc.string({ unit: 'binary', maxLength: 200 }));

  test('any prompt gives segments of text that was in it, in order, with weights within bounds', () => {
    fc.assert(
      fc.property(anything, (prompt) => {
        const segments = parsePrompt(prompt);
        expect(segments.length).toBeGreaterThan(0);
        let from = 0;
        for (const c of segments.map(({ text }) => text).join('')) {
          from = prompt.indexOf(c, from) + c.length;
          expect(from).toBeGreaterThanOrEqual(c.length);
        }
        for (const { weight } of segments) expect(Math.abs(weight)).toBeLessThanOrEqual(MAX_WEIGHT);
      }),
    );
  });

  test('only syntax is lost: every other character is kept', () => {
    const kept = (text: string) => text.replace(/[()[\]:\\.\d\s+-]|BREAK/g, '');
    fc.assert(
      fc.property(anything, (prompt) => {
        const text = parsePrompt(prompt).map((segment) => segment.text);
        expect(kept(text.join(''))).toBe(kept(prompt));
      }),
    );
  });

  test('text without syntax is one segment, as it stands', () => {
    const plain = anything.map((text) => text.replace(/[()[\]\\]|BREAK/g, ''));
    fc.assert(
      fc.property(plain, (text) => {
        expect(parsePrompt(text)).toEqual([{ text, weight: 1 }]);
      }),
    );
  });

  test('escaped, any text is one segment', () => {
    const text = anything.map((text) => text.replaceAll('BREAK', ''));
    fc.assert(
      fc.property(text, (text) => {
        const prompt = text.replace(/[()[\]\\]/g, '\\$&');
        expect(parsePrompt(prompt)).toEqual([{ text, weight: 1 }]);
      }),
    );
  });

  test('segments written out are read back', () => {
    const word = fc.stringMatching(/^[a-z ,🐙]{1,8}$/u);
    const weight = fc.integer({ min: -90, max: 90 }).map((tenths) => tenths / 10 + 0.05);
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(word, weight), { selector: ([, w]) => w }), (written) => {
        fc.pre(written.length > 0);
        const prompt = written.map(([text, w]) => `(${text}:${w.toFixed(2)})`).join('');
        expect(parsed(prompt)).toEqual(written.map(([text, w]) => [text, Number(w.toFixed(2))]));
      }),
    );
  });
});
