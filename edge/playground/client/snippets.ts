import type { Body } from './types.ts';

export type Language = 'curl' | 'javascript' | 'python';

export interface Snippet {
  code: string;
  /** Files that the code reads: name → data URL. */
  files: Map<string, string>;
}

/** A file in place of its bytes. */
class FileName {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

export interface Server {
  /** `http://127.0.0.1:8787` */
  origin: string;
  /** Whether it asks for one; it is read from the environment. */
  withKey: boolean;
}

/** The same request for another client. */
export function snippet(language: Language, body: Body, server: Server): Snippet {
  const files = new Map<string, string>();
  const fields = withFiles(body, [], files) as Record<string, unknown>;
  return { code: writers[language](fields, server), files };
}

/** Pictures are data URLs; each becomes a file, named for its place: `control-0-image.png`. */
function withFiles(value: unknown, path: string[], files: Map<string, string>): unknown {
  if (Array.isArray(value)) return value.map((item, i) => withFiles(item, [...path, String(i)], files));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, field]) => field !== undefined)
        .map(([name, field]) => [name, withFiles(field, [...path, name], files)]),
    );
  const type = typeof value === 'string' && /^data:image\/(\w+);base64,/.exec(value)?.[1];
  if (!type) return value;
  const name = `${path.join('-').replaceAll('_', '-')}.${type === 'jpeg' ? 'jpg' : type}`;
  files.set(name, value as string);
  return new FileName(name);
}

interface Spelling {
  file: (name: string) => string;
  key: (name: string) => string;
  words?: Record<string, string>;
}

/** A value as a literal, one line for each field. */
function literal(value: unknown, spelling: Spelling, indent: string): string {
  if (value instanceof FileName) return spelling.file(value.name);
  if (Array.isArray(value)) return `[${value.map((item) => literal(item, spelling, indent)).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const lines = Object.entries(value).map(
      ([name, field]) => `${indent}  ${spelling.key(name)}: ${literal(field, spelling, `${indent}  `)}`,
    );
    return `{\n${lines.join(',\n')}\n${indent}}`;
  }
  const text = JSON.stringify(value);
  return spelling.words?.[text] ?? text;
}

/** What a shell would read otherwise in a here-document. */
const plain = (text: string) => text.replace(/[\\$`]/g, '\\$&');

function curl(fields: Record<string, unknown>, { origin, withKey }: Server): string {
  const json = literal(fields, { file: (name) => `"\0${name}\0"`, key: (name) => JSON.stringify(name) }, '');
  // JSON has no NUL but as an escape: between two there is a file's name.
  const text = json
    .split('\0')
    .map((part, i) => (i % 2 === 0 ? plain(part) : `$(base64 < ${part} | tr -d '\\n')`))
    .join('');
  const key = withKey ? ` \\\n  -H "authorization: Bearer $LATENT_EDGE_KEY"` : '';
  const reply = fields.n === undefined ? "-H 'accept: image/png' -o picture.png" : '-o pictures.json';
  return `curl -s ${origin}/v1/images/generations -H 'content-type: application/json'${key} \\
  ${reply} -d @- <<JSON
${text}
JSON
`;
}

function javascript(fields: Record<string, unknown>, { origin }: Server): string {
  const file = (name: string) => `readFileSync(${JSON.stringify(name)}, 'base64')`;
  return `import { readFileSync, writeFileSync } from 'node:fs';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: process.env.LATENT_EDGE_KEY ?? 'none' });
const made = await client.images.generate(${literal(fields, { file, key: (name) => name }, '')});
made.data.forEach(({ b64_json }, i) => writeFileSync(\`picture-\${i}.png\`, Buffer.from(b64_json, 'base64')));
`;
}

/** OpenAI's own are arguments, the others stand in extra_body. */
const openaiArguments = new Set(['prompt', 'model', 'n', 'size']);

function python(fields: Record<string, unknown>, { origin }: Server): string {
  const spelling: Spelling = {
    file: (name) => `base64.b64encode(open(${JSON.stringify(name)}, "rb").read()).decode()`,
    key: (name) => JSON.stringify(name),
    words: { true: 'True', false: 'False', null: 'None' },
  };
  const all = Object.entries(fields);
  const own = all.filter(([name]) => openaiArguments.has(name));
  const extra = Object.fromEntries(all.filter(([name]) => !openaiArguments.has(name)));
  const lines = own.map(([name, value]) => `    ${name}=${literal(value, spelling, '    ')},`);
  return `import base64, os
from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=os.environ.get("LATENT_EDGE_KEY", "none"))
made = client.images.generate(
${lines.join('\n')}
    extra_body=${literal(extra, spelling, '    ')},
)
for i, image in enumerate(made.data):
    open(f"picture-{i}.png", "wb").write(base64.b64decode(image.b64_json))
`;
}

const writers = { curl, javascript, python };
