import { createHash } from 'node:crypto';
import { openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Counters, explore } from './guided.ts';

// The process that runs a target in TypeScript, bundled and instrumented by run.mjs, which watches it.

interface IstanbulCoverage {
  s: Counters;
  f: Counters;
  b: Record<string, Counters>;
}

interface Target {
  fuzz: (bytes: Buffer) => unknown;
  seeds: () => Uint8Array[] | Promise<Uint8Array[]>;
}

const [entry, folder, seconds, seed] = process.argv.slice(2) as [string, string, string, string];
const corpus = join(folder, 'corpus');
const { fuzz, seeds } = createRequire(import.meta.url)(entry) as Target;
const { __coverage__ } = globalThis as unknown as { __coverage__: Record<string, IstanbulCoverage> };

// What is under way when the process dies of it, behind its length: for who watches.
const current = openSync(join(folder, 'current'), 'w');
let input: Buffer = Buffer.alloc(0);
const save = (kind: string) => {
  const file = join(folder, `${kind}-${createHash('sha1').update(input).digest('hex')}`);
  writeFileSync(file, input);
  return file;
};
const fail = (error: unknown): never => {
  console.error(error);
  console.error(`the input is ${save('crash')}`);
  process.exit(1);
};
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

const end = performance.now() + 1000 * Number(seconds);
let told = 0;
const found = readdirSync(corpus).map((name) => readFileSync(join(corpus, name)));
try {
  const { runs, kept, reached } = await explore({
    fuzz,
    counters: Object.values(__coverage__).flatMap(({ s, f, b }) => [s, f, ...Object.values(b)]),
    seeds: [...(await seeds()), ...found],
    words: wordsOf(readFileSync(entry.replace(/\.cjs$/, '.plain.cjs'), 'utf8')),
    seed: Number(seed),
    isOver(runs) {
      const now = performance.now();
      if (now > told + 1000) {
        told = now;
        process.send?.(runs);
      }
      return now > end;
    },
    onRun(bytes) {
      input = bytes;
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      writeSync(current, Buffer.concat([length, bytes]), 0, undefined, 0);
    },
    onNew(bytes) {
      writeFileSync(join(corpus, createHash('sha1').update(bytes).digest('hex')), bytes);
    },
  });
  console.log(`${runs} runs, ${kept} inputs kept, ${reached} sizes of counters reached, no fault`);
  process.exit(0);
} catch (error) {
  fail(error);
}

/** Texts that stand in a program. */
function wordsOf(source: string): string[] {
  const texts = source.matchAll(/"((?:[^"\\\n]|\\.){1,24})"/g);
  return [...new Set(Array.from(texts, ([, text]) => text!.replace(/\\(.)/g, '$1')))];
}
