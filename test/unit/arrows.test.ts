import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

// Which folder may know which (docs/how-a-request-runs.md), read from the imports of their sources.

const base = ['sidecar', 'sidecar/checkpoints'];
/** Folders of the project that the sources of a folder import from, itself aside; `sidecar`: its own files alone. */
const MAY_KNOW: Record<string, string[]> = {
  proto: [],
  edge: ['proto'],
  'sidecar/samplers': base,
  'sidecar/models': [...base, 'sidecar/graph'],
  'sidecar/text': base,
  'sidecar/checkpoints': [...base, 'sidecar/graph'],
  'sidecar/graph': ['sidecar'],
  'sidecar/engine': [
    ...[...base, 'sidecar/graph', 'sidecar/models', 'sidecar/samplers', 'sidecar/text', 'sidecar/random'],
    ...['sidecar/preprocessors', 'sidecar/thread'],
  ],
};
/** Of the sidecar's engine and what is below it: gRPC is its service's. */
const GRPC = /^(@grpc\/|@connectrpc\/|grpc-)/;

/** The folder that a file counts to. */
function folderOf(path: string): string {
  const [top, next, ...rest] = path.split('/') as [string, ...string[]];
  return top === 'sidecar' && rest.length > 0 ? `${top}/${next}` : top;
}

function sourcesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ['node_modules', 'gen'].includes(entry.name) ? [] : sourcesIn(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

/** Names of all that is imported, and the folder where that is within the project. */
function importsOf(folder: string): { file: string; name: string; to: string | undefined }[] {
  return sourcesIn(folder).flatMap((file) =>
    Array.from(
      readFileSync(file, 'utf8').matchAll(/\b(?:from |import[ (])'([^']+)'/g),
      ([, name]: string[]) => {
        const to = name!.startsWith('.') ? folderOf(join(dirname(file), name!)) : undefined;
        return { file, name: name!, to };
      },
    ),
  );
}

test.each(Object.entries(MAY_KNOW))('%s', (folder, known) => {
  const all = importsOf(folder);
  expect(all.length).toBeGreaterThan(4);
  const wrong = all.filter(({ name, to }) =>
    to ? ![folder, ...known].includes(to) : folder.startsWith('sidecar/') && GRPC.test(name),
  );
  expect(wrong).toEqual([]);
});

test('the sidecar knows the contract, and nothing of the edge', () => {
  const outside = importsOf('sidecar').filter(({ to }) => to && !/^(sidecar(\/|$)|proto$)/.test(to));
  expect(outside).toEqual([]);
});
