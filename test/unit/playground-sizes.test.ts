import { expect, test } from 'vitest';
import { sizeProblem } from '../../edge/playground/client/sizes.ts';
import { parseSize } from '../../edge/schema/size.ts';

test('the page refuses the sizes that the server refuses, at the field to change', () => {
  const sides = [-8, 0, 1, 4, 8, 12.5, 64, 65, 1000, 1024, 2048, 2056, 4096, 4104, 1_000_000];
  for (const width of sides)
    for (const height of sides)
      expect(sizeProblem({ width, height }) === undefined, `${width}x${height}`).toBe(
        parseSize(`${width}x${height}`) !== undefined,
      );
  expect(sizeProblem({ width: 64, height: 1_000_000 })).toEqual({
    field: 'height',
    message: 'Expected a multiple of 8, from 8 to 4096 pixels',
  });
  expect(sizeProblem({ width: 2056, height: 2048 })).toMatchObject({
    field: 'width',
    message: expect.stringContaining('in all'),
  });
});
