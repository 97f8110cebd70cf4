import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { resizeModes } from '../../sidecar/preprocessors/resize.ts';
import { findPreprocessor, preprocessors } from '../../sidecar/preprocessors/table.ts';
import { code, type Part, renewed, table } from '../support/page.ts';

const file = new URL('../../docs/preprocessors.md', import.meta.url);
const read = () => readFileSync(file, 'utf8');

const parts: Part[] = [
  {
    name: 'preprocessors',
    markdown: table(
      ['Name', 'Also', 'The hint', 'Options: default, range'],
      preprocessors.map(({ name, aliases, what, family }) => [
        code(name),
        aliases.join(', '),
        what,
        Object.entries(family.options)
          .map(
            ([option, { what, default: value, min, max }]) =>
              `${code(option)} ${value}, ${min} to ${max}: ${what}`,
          )
          .join('<br>'),
      ]),
    ),
  },
  {
    name: 'resize',
    markdown: table(
      ['Mode', 'A picture of another shape is'],
      Object.entries(resizeModes).map(([mode, what]) => [code(mode), what]),
    ),
  },
];

describe('docs/preprocessors.md', () => {
  test('has the tables of the code: to renew them, UPDATE_DOCS=1 npx vitest run test/unit/preprocessor-page.test.ts', () => {
    const page = read();
    const fresh = renewed(page, parts);
    if (process.env.UPDATE_DOCS) writeFileSync(file, fresh);
    else expect(page).toBe(fresh);
  });

  test('names preprocessors that are there for ControlNets', () => {
    const section = read().split('## Which ControlNet wants which hint')[1]!.split('\n## ')[0]!;
    const rows = section.split('\n').filter((line) => /^\| (?!Co|---)/.test(line));
    expect(rows.length).toBeGreaterThan(15);
    for (const row of rows) {
      const here = row.split(' | ').at(-1)!;
      for (const [, name] of here.matchAll(/`([a-z-]+)`/g)) expect(findPreprocessor(name!)?.name).toBe(name);
      expect(here).toMatch(/`[a-z-]+`|not supported/);
    }
  });
});

test('words in brackets are no part of a name, however many there are', () => {
  expect(findPreprocessor('invert (from white bg & black line)')?.name).toBe('invert');
  // By steps that grow with its square, this would take minutes.
  expect(findPreprocessor(' ('.repeat(1_000_000))).toBeUndefined();
  expect(findPreprocessor(`${' ('.repeat(1_000_000)})`)).toBeUndefined();
});
