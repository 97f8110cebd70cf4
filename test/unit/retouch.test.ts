import { describe, expect, it } from 'vitest';
import { boundsOf, expand } from '../../sidecar/engine/retouch.ts';

describe('boundsOf', () => {
  it('is the smallest rectangle of what is not black', () => {
    const mask = Uint8Array.from([0, 0, 0, 0, 0, 1, 0, 255, 0, 0, 9, 0]);
    expect(boundsOf(mask, { width: 4, height: 3 })).toEqual({ left: 1, top: 1, width: 3, height: 2 });
  });

  it('is everything where all is black', () => {
    expect(boundsOf(new Uint8Array(6), { width: 2, height: 3 })).toEqual({
      left: 0,
      top: 0,
      width: 2,
      height: 3,
    });
  });
});

describe('expand', () => {
  const whole = { width: 100, height: 60 };

  it('adds what was asked for, within the picture', () => {
    const region = { left: 40, top: 20, width: 20, height: 20 };
    expect(expand(region, { padding: 5, whole, aspect: 1 })).toEqual({
      left: 35,
      top: 15,
      width: 30,
      height: 30,
    });
    const corner = { left: 0, top: 55, width: 10, height: 5 };
    expect(expand(corner, { padding: 5, whole, aspect: 1.5 })).toEqual({
      left: 0,
      top: 50,
      width: 15,
      height: 10,
    });
  });

  it('takes the aspect of the run as far as the picture goes', () => {
    const region = { left: 10, top: 10, width: 80, height: 8 };
    expect(expand(region, { padding: 0, whole, aspect: 2 })).toEqual({
      left: 10,
      top: 0,
      width: 80,
      height: 40,
    });
    expect(expand(region, { padding: 0, whole, aspect: 1 })).toEqual({
      left: 10,
      top: 0,
      width: 80,
      height: 60,
    });
  });
});
