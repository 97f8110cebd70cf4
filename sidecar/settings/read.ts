import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { show } from '../errors.ts';
import { flagNames, type Setting, type Settings, table } from './table.ts';

export interface Given {
  /** By commander's names, as texts; of those that may be repeated lists, of those without a value `true`. */
  flags?: Record<string, unknown>;
  env?: Record<string, string | undefined>;
  /** JSON with a section `sidecar`; one of the name of LATENT_EDGE_CONFIG otherwise. */
  file?: string | undefined;
}

/** The file's sections; each half of the service reads its own. */
const sections = z.strictObject({
  $schema: z.string().optional(),
  sidecar: z.record(z.string(), z.unknown()).optional(),
  edge: z.record(z.string(), z.unknown()).optional(),
});

/**
 * Reads all settings: what a flag says, else its variable, else the file, else what is so by default. An empty variable
 * says nothing.
 * @throws Error naming the setting as it was given, what was expected, what came, and the file.
 */
export function readSettings({
  flags = {},
  env = {},
  file = env.LATENT_EDGE_CONFIG || undefined,
}: Given): Settings {
  const section = file === undefined ? {} : readSection(file);
  const settings = Object.entries(table).map(([key, row]) => {
    const setting = row as Setting<unknown>;
    const { kind, fallback } = setting;
    const given = find(key, setting, { flags, env, section, file });
    if (!given) return [key, fallback];
    const value = kind.schema.safeParse(given.value);
    if (value.success) return [key, value.data];
    const received = setting.isSecret ? 'something else' : show(given.value);
    throw new Error(`Expected ${kind.expected} for ${given.name} but received ${received}${given.where}`);
  });
  return Object.fromEntries(settings) as Settings;
}

interface Found {
  name: string;
  value: unknown;
  /** `, in FILE` */
  where: string;
}

function find(
  key: string,
  setting: Setting<unknown>,
  {
    flags,
    env,
    section,
    file,
  }: {
    flags: Record<string, unknown>;
    env: Record<string, string | undefined>;
    section: Record<string, unknown>;
    file: string | undefined;
  },
): Found | undefined {
  const { kind } = setting;
  const flag = flagNames(setting);
  const said = flag && flags[flag.property];
  if (said !== undefined)
    return { name: flag!.option, value: typeof said === 'string' ? kind.fromText(said) : said, where: '' };
  const variable = env[setting.env];
  if (variable) return { name: setting.env, value: kind.fromText(variable), where: '' };
  if (section[key] === undefined) return undefined;
  return { name: `sidecar.${key}`, value: section[key], where: `, in ${file}` };
}

function readSection(file: string): Record<string, unknown> {
  const parsed = sections.safeParse(parse(file));
  if (!parsed.success)
    throw new Error(`Expected an object with sidecar and edge, objects too, and nothing else, in ${file}`);
  const section = parsed.data.sidecar ?? {};
  const unknown = Object.keys(section).find((key) => !Object.hasOwn(table, key));
  if (unknown !== undefined)
    throw new Error(
      `Expected one of ${Object.keys(table).join(', ')} in sidecar but received ${show(unknown)}, in ${file}`,
    );
  return section;
}

function parse(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`Expected a file of settings for LATENT_EDGE_CONFIG: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Expected JSON: ${(error as Error).message}, in ${file}`);
  }
}
