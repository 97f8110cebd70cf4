#!/usr/bin/env node
// npm run keys -- NAME [--scopes generate,…] [--requests-per-minute N] [--pixels-per-request N] [--file keys.json]
// Makes an API key and shows it once; what the edge needs of it, its hash, goes into the file or is shown as well.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const usage =
  'npm run keys -- NAME [--scopes read,generate,admin] [--requests-per-minute N] [--pixels-per-request N] [--file keys.json]';

function run() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      scopes: { type: 'string', default: 'generate' },
      'requests-per-minute': { type: 'string' },
      'pixels-per-request': { type: 'string' },
      file: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return console.log(usage);
  const [name, ...rest] = positionals;
  if (!/^[\w.@-]{1,64}$/.test(name ?? '') || rest.length > 0)
    throw new Error(`Expected one name, 1 to 64 of A-Z a-z 0-9 _ . @ -\n${usage}`);
  const scopes = values.scopes.split(',');
  const wrong = scopes.find((scope) => !['read', 'generate', 'admin'].includes(scope));
  if (wrong !== undefined)
    throw new Error(`Expected read, generate or admin for --scopes but received ${wrong}`);
  const key = `le_${randomBytes(32).toString('base64url')}`;
  const entry = { name, sha256: createHash('sha256').update(key).digest('hex'), scopes };
  for (const option of ['requests-per-minute', 'pixels-per-request']) {
    const value = values[option];
    if (value === undefined) continue;
    if (!/^[1-9]\d{0,9}$/.test(value))
      throw new Error(`Expected a whole number for --${option} but received ${value}`);
    entry[option.replaceAll('-', '_')] = Number(value);
  }
  if (values.file) {
    const all = existsSync(values.file) ? JSON.parse(readFileSync(values.file, 'utf8')) : [];
    if (all.some((other) => other.name === name))
      throw new Error(`${values.file} has a key named ${name} already`);
    writeFileSync(values.file, `${JSON.stringify([...all, entry], null, 2)}\n`, { mode: 0o600 });
  }
  console.log(key);
  console.error(
    values.file
      ? `Shown this once. Its hash is in ${values.file}: API_KEYS_FILE=${values.file}`
      : `Shown this once. API_KEYS='${JSON.stringify([entry])}'`,
  );
}

try {
  run();
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
