/**
 * The parameters in a file's text: prompt, negative prompt, then one line of `Key: value`, values with a comma or a
 * colon in quotes.
 */
export function parametersOf(text: string): Record<string, string> {
  if (text === '') return {};
  const lines = text.split('\n');
  const settings = settingsOf(lines.at(-1)!);
  const words = settings ? lines.slice(0, -1) : lines;
  const negative = words.findIndex((line) => line.startsWith('Negative prompt: '));
  const [prompt, rest] = negative < 0 ? [words, []] : [words.slice(0, negative), words.slice(negative)];
  const size = /^(\d+)x(\d+)$/.exec(settings?.Size ?? '');
  return {
    Prompt: prompt.join('\n'),
    'Negative prompt': rest.join('\n').replace(/^Negative prompt: /, ''),
    ...settings,
    ...(size && { 'Size-1': size[1]!, 'Size-2': size[2]! }),
  };
}

function settingsOf(line: string): Record<string, string> | undefined {
  const pairs = [...line.matchAll(/\s*([\w /-]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g)];
  // As that UI reads it: fewer are words.
  if (pairs.length < 3) return undefined;
  return Object.fromEntries(pairs.map(([, key, value]) => [key!.trim(), unquoted(value!)]));
}

function unquoted(value: string): string {
  if (!value.startsWith('"')) return value.trim();
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}
