import { errors } from '../errors.ts';

/** A number that a preprocessor can be given. */
export interface PreprocessorOption {
  /** What it means, as the documentation has it. */
  what: string;
  default: number;
  min: number;
  max: number;
  /** Whether it has no fraction. */
  whole?: true;
}

export type Options = Record<string, PreprocessorOption>;

/** The number for each. */
export type Values<O extends Options> = { [name in keyof O]: number };

/**
 * Those given, and the defaults of the others.
 * @param field where they stand in the request, for messages: `control[0].preprocessor_options`.
 * @throws ServiceError invalid_argument for a name that is not among them, or a number out of range.
 */
export function readOptions<O extends Options>(
  options: O,
  given: Readonly<Record<string, number>>,
  field: string,
): Values<O> {
  const names = Object.keys(options);
  const values = Object.fromEntries(names.map((name) => [name, options[name]!.default]));
  for (const [name, value] of Object.entries(given)) {
    const option = Object.hasOwn(options, name) ? options[name] : undefined;
    if (!option)
      throw errors.invalidArgument(field, names.length > 0 ? `any of ${names.join(', ')}` : 'nothing', name);
    const { min, max, whole } = option;
    const fits = value >= min && value <= max && (!whole || Number.isInteger(value));
    if (!fits)
      throw errors.invalidArgument(
        `${field}.${name}`,
        `a ${whole ? 'whole ' : ''}number from ${min} to ${max}`,
        value,
      );
    values[name] = value;
  }
  return values as Values<O>;
}
