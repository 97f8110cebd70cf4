import { byId } from './page.ts';

/** What a field of numbers has; undefined: nothing. */
export function numberOf(id: string): number | undefined {
  const { value } = byId(id, HTMLInputElement);
  return value === '' ? undefined : Number(value);
}
