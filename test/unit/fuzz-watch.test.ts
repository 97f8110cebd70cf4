import { EventEmitter } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { watch } from '../fuzz/watch.mjs';

let folder: string;
beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, 'error').mockImplementation(() => {});
  folder = mkdtempSync(join(tmpdir(), 'fuzz-watch-'));
  // Behind its length, and before what is left of a longer one.
  writeFileSync(join(folder, 'current'), Buffer.from([3, 0, 0, 0, 97, 98, 99, 120]));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

/** A process as its parent knows it. */
class Child extends EventEmitter {
  kill = (signal: string) => this.emit('exit', null, signal);
}

it.each<[string, number | null, string | null, number, string[]]>([
  ['ends well', 0, null, 0, []],
  ['has told of a fault itself', 1, null, 1, []],
  ['is killed for want of memory', null, 'SIGKILL', 1, ['killed']],
  ['crashes', null, 'SIGSEGV', 1, ['crash']],
])('of a process that %s', async (_, code, signal, status, kept) => {
  const child = new Child();
  const watched = watch(child, folder, 1000);
  child.emit('exit', code, signal);
  expect(await watched).toBe(status);
  expect(inputs()).toEqual(kept);
});

it('of a process that says nothing any more', async () => {
  const child = new Child();
  const watched = watch(child, folder, 1000);
  await vi.advanceTimersByTimeAsync(900);
  child.emit('message');
  await vi.advanceTimersByTimeAsync(900);
  expect(inputs()).toEqual([]);
  await vi.advanceTimersByTimeAsync(100);
  expect(await watched).toBe(1);
  expect(inputs()).toEqual(['timeout']);
});

/** What they were kept as. */
function inputs(): string[] {
  const files = readdirSync(folder).filter((name) => name !== 'current');
  for (const name of files) expect(readFileSync(join(folder, name), 'utf8')).toBe('abc');
  return files.map((name) => name.split('-')[0]!);
}
