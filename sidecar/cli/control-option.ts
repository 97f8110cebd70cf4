import { stat } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { findPreprocessor } from '../preprocessors/table.ts';
import { pictureFile } from './files.ts';

/** One `--control`: a ControlNet and what it looks at. */
export interface ControlFlag {
  /** A name, a folder or a file. */
  model: string;
  /** A picture's file. */
  image?: string;
  preprocessor?: string;
  preprocessorOptions: Record<string, number>;
  resize?: string;
  scale?: number[];
  start?: number;
  end?: number;
  mode?: string;
  levelScale?: number[];
}

const FIELDS = ['model', 'image', 'preprocessor', 'resize', 'scale', 'start', 'end', 'mode', 'level_scale'];

export const CONTROL_SYNTAX =
  'model=NAME|DIR|FILE[,image=FILE][,scale=X][,start=X][,end=X][,preprocessor=NAME][,mode=NAME][,resize=NAME]';

/** Another `model=DIR,image=FILE,…`; names that are none of these are numbers for the preprocessor. */
export function controls(text: string, previous: ControlFlag[] = []): ControlFlag[] {
  // A comma that no NAME= follows belongs to a file's name.
  const fields = text.split(/,(?=[a-z_]+=)/).map((field): [string, string] => {
    const [, name, value] = /^([a-z_]+)=(.*)$/s.exec(field) ?? [];
    if (name === undefined || !value) throw unexpected(CONTROL_SYNTAX, text);
    return [name, value];
  });
  const names = fields.map(([name]) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) throw unexpected(`${twice} once`, text);
  if (!names.includes('model')) throw unexpected(CONTROL_SYNTAX, text);
  const flag: ControlFlag = { model: '', preprocessorOptions: {} };
  for (const [name, value] of fields) read(flag, name, value);
  checkOptions(flag);
  return [...previous, flag];
}

/** A slip in the name of a field is no option of a preprocessor. */
function checkOptions({ preprocessor = '', preprocessorOptions }: ControlFlag): void {
  // What is no preprocessor's name is refused with all that are.
  const known = findPreprocessor(preprocessor)?.family.options;
  const other = Object.keys(preprocessorOptions).find((name) => known && !Object.hasOwn(known, name));
  if (other === undefined) return;
  const options = Object.keys(known!);
  const its = options.length > 0 ? `, or of ${preprocessor} ${options.join(', ')}` : '';
  throw unexpected(`one of ${FIELDS.join(', ')}${its}`, `${other}=${preprocessorOptions[other]}`);
}

function read(flag: ControlFlag, name: string, value: string): void {
  switch (name) {
    case 'model':
    case 'image':
    case 'preprocessor':
    case 'resize':
    case 'mode':
      flag[name] = value;
      break;
    case 'start':
    case 'end':
      flag[name] = numberOf(name, value);
      break;
    case 'scale':
      flag.scale = numbersOf(name, value);
      break;
    case 'level_scale':
      flag.levelScale = numbersOf(name, value);
      break;
    default:
      flag.preprocessorOptions[name] = numberOf(name, value);
  }
}

/** `0.5`, or one for each of several: `1:0.7:0.4`. */
function numbersOf(name: string, value: string): number[] {
  return value.split(':').map((part) => numberOf(name, part));
}

function numberOf(name: string, value: string): number {
  const number = value.trim() === '' ? Number.NaN : Number(value);
  if (Number.isFinite(number)) return number;
  throw unexpected(`a number for ${name}`, value);
}

function unexpected(expected: string, received: string): InvalidArgumentError {
  return new InvalidArgumentError(`Expected ${expected} but received ${JSON.stringify(received)}.`);
}

/** The units of a request, their pictures read. */
export function controlUnits(flags: readonly ControlFlag[]): Promise<object[]> {
  return Promise.all(
    flags.map(async ({ image, ...unit }) => ({
      ...unit,
      ...(image && { image: await pictureFile('--control image', image) }),
    })),
  );
}

/** ControlNets that are named by where they lie. */
export async function controlFiles(flags: readonly ControlFlag[]): Promise<Map<string, string>> {
  const found = await Promise.all(
    flags.map(async ({ model }) => ((await stat(model).catch(() => undefined)) ? [model] : [])),
  );
  return new Map(found.flat().map((path) => [path, path]));
}
