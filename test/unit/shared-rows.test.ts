import { describe, expect, it } from 'vitest';
import type { Row } from '../../sidecar/engine/denoiser.ts';
import { sharedRows } from '../../sidecar/engine/shared-rows.ts';

const image = () => new Float32Array(4);
const row = (sample: Float32Array, timestep = 1, hints: object[] = []) =>
  ({ sample, timestep, context: {}, controls: hints.map((hint) => ({ hint })) }) as unknown as Row;

describe('rows of an image', () => {
  it('lie side by side, wherever they came from', () => {
    const [a, b] = [image(), image()];
    expect(sharedRows([row(a), row(a)])).toEqual({ order: [0, 1], texts: 2 });
    expect(sharedRows([row(a), row(b), row(b), row(a)])).toEqual({ order: [0, 3, 1, 2], texts: 2 });
    expect(sharedRows([row(a), row(a), row(a)])).toEqual({ order: [0, 1, 2], texts: 3 });
  });

  it('are evaluated one by one where not all images have as many', () => {
    const [a, b] = [image(), image()];
    expect(sharedRows([row(a), row(b), row(a)])).toEqual({ order: [0, 1, 2], texts: 1 });
    expect(sharedRows([row(a)])).toEqual({ order: [0], texts: 1 });
    expect(sharedRows([row(a), row(b)])).toEqual({ order: [0, 1], texts: 1 });
    expect(sharedRows([])).toEqual({ order: [], texts: 1 });
  });

  it('have the same step and the same hints', () => {
    const [a, hint] = [image(), {}];
    expect(sharedRows([row(a, 1), row(a, 2)]).texts).toBe(1);
    expect(sharedRows([row(a, 1, [hint]), row(a, 1, [hint])]).texts).toBe(2);
    expect(sharedRows([row(a, 1, [hint]), row(a, 1, [{}])]).texts).toBe(1);
  });
});
