// Packs the playground into a module that both runtimes can serve from: gen/files.ts.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));

const { outputFiles } = await build({
  entryPoints: { app: join(here, 'client/main.ts'), style: join(here, 'style/index.css') },
  ...{ bundle: true, minify: true, write: false, outdir: here },
  ...{ format: 'esm', target: 'es2022', legalComments: 'eof', logLevel: 'warning' },
  // `light-dark()` as it stands.
  supported: { 'color-functions': true },
});
const textOf = (end) => outputFiles.find(({ path }) => path.endsWith(end)).text;
const read = (name) => readFileSync(join(here, name), 'utf8');

/** By path. */
const files = {
  '/': ['text/html; charset=utf-8', read('index.html')],
  '/playground/app.js': ['text/javascript; charset=utf-8', textOf('.js')],
  '/playground/app.css': ['text/css; charset=utf-8', textOf('.css')],
  '/playground/icon.svg': ['image/svg+xml', read('icon.svg')],
};
mkdirSync(join(here, 'gen'), { recursive: true });
writeFileSync(
  join(here, 'gen/files.ts'),
  `// Made by build.mjs.\nexport const files: Record<string, [type: string, text: string]> = ${JSON.stringify(files, null, 2)};\n`,
);
