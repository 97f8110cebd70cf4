import { type DBSchema, openDB } from 'idb';
import type { Made } from './types.ts';

interface Schema extends DBSchema {
  made: { key: number; value: Made };
}

/** How many are kept; the oldest go. */
const KEPT = 200;

// A browser that allows no storage may throw at once.
const opened = (async () =>
  openDB<Schema>('latent-edge', 1, {
    upgrade: (db) => void db.createObjectStore('made', { keyPath: 'id', autoIncrement: true }),
  }))();

/** Newest first. */
export async function allMade(): Promise<Made[]> {
  return (await (await opened).getAll('made')).reverse();
}

/** @returns its id. */
export async function keep(made: Made): Promise<number> {
  const db = await opened;
  const id = await db.add('made', made);
  const ids = await db.getAllKeys('made');
  for (const old of ids.slice(0, Math.max(0, ids.length - KEPT))) await db.delete('made', old);
  return id;
}

export async function forget(id: number): Promise<void> {
  await (await opened).delete('made', id);
}

export async function forgetAll(): Promise<void> {
  await (await opened).clear('made');
}
