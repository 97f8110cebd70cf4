import { expect, it } from 'vitest';
import { leavingWith } from '../../edge/leaving.ts';

it('a controller is aborted by itself, and with the other signal, for its reason', () => {
  const other = new AbortController();
  const [alone, together] = [leavingWith(other.signal), leavingWith(other.signal)];
  alone.abort('mine');
  expect([alone.signal.reason, together.signal.aborted, other.signal.aborted]).toEqual([
    'mine',
    false,
    false,
  ]);
  other.abort('theirs');
  expect([alone.signal.reason, together.signal.reason]).toEqual(['mine', 'theirs']);
  expect(leavingWith(other.signal).signal.reason).toBe('theirs');
  expect(leavingWith(undefined).signal.aborted).toBe(false);
});
