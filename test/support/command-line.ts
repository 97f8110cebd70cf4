import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, vi } from 'vitest';

// The command line as it is built: some commands as processes of their own, which take a second to begin, most without.

export const BIN = fileURLToPath(new URL('../../sidecar/bin/latent-edge.mjs', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/sidecar/cli/index.js', import.meta.url));

/** Where commands are run, which is gone after the file's tests. Each file has one of its own. */
export const folder = mkdtempSync(join(tmpdir(), 'latent-edge-'));
afterAll(() => rm(folder, { recursive: true }));

export const run = (...args: string[]) => runWith({}, ...args);

export function runWith(
  env: Record<string, string>,
  ...args: string[]
): Promise<{ status: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [BIN, ...args], { cwd: folder, env: { ...process.env, ...env } });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk) => out.push(chunk));
    child.stderr.on('data', (chunk) => err.push(chunk));
    child.on('close', (status) =>
      resolve({ status, out: `${Buffer.concat(out)}`, err: `${Buffer.concat(err)}` }),
    );
  });
}

/** The same without a process of its own, which takes a second to begin. */
export const call = (...args: string[]) => callWith({}, ...args);

export async function callWith(
  env: Record<string, string>,
  ...args: string[]
): Promise<{ status: number; out: string; err: string }> {
  const { main } = await import(pathToFileURL(BUILT).href);
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockReturnValue(true),
  );
  // Tests' own console does not write to the process's streams.
  const [log, error] = (['log', 'error'] as const).map((name) =>
    vi.spyOn(console, name).mockImplementation((line) => {
      (name === 'log' ? process.stdout : process.stderr).write(`${line}\n`);
    }),
  );
  const [cwd, exitCode] = [process.cwd(), process.exitCode];
  process.chdir(folder);
  process.exitCode = undefined;
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    const status = await main(args);
    const [out, err] = spies.map(({ mock }) => mock.calls.map(([chunk]) => `${chunk}`).join(''));
    return { status, out: out!, err: err! };
  } finally {
    vi.unstubAllEnvs();
    process.chdir(cwd);
    process.exitCode = exitCode;
    for (const spy of [...spies, log!, error!]) spy.mockRestore();
  }
}
