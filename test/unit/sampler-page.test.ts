import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { renewed } from '../support/page.ts';
import { samplerPageParts } from '../support/sampler-page.ts';

const file = new URL('../../docs/samplers.md', import.meta.url);

describe('docs/samplers.md', () => {
  test('has the tables of the code: to renew them, UPDATE_DOCS=1 npx vitest run test/unit/sampler-page.test.ts', () => {
    const page = readFileSync(file, 'utf8');
    const fresh = renewed(page, samplerPageParts());
    if (process.env.UPDATE_DOCS) writeFileSync(file, fresh);
    else expect(page).toBe(fresh);
  });
});
