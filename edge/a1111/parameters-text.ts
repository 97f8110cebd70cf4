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

/** Pair by pair, each character looked at once: the line may be anybody's. */
function settingsOf(line: string): Record<string, string> | undefined {
  const pairs: [string, string][] = [];
  for (let at = 0; at < line.length; ) {
    const colon = line.indexOf(':', at);
    if (colon < 0) break;
    const end = endOfValue(line, colon + 1);
    // Without what has no colon of its own.
    const key = line.slice(at, colon).split(',').at(-1)!.trim();
    if (/^[\w /-]+$/.test(key)) pairs.push([key, unquoted(line.slice(colon + 1, end).trim())]);
    at = end + 1;
  }
  // As that UI reads it: fewer are words.
  return pairs.length < 3 ? undefined : Object.fromEntries(pairs);
}

/** The comma after a value, or the line's end. A value in quotes may have commas in it. */
function endOfValue(line: string, start: number): number {
  const to = (end: number) => (end < 0 ? line.length : end);
  let at = start;
  while (line[at] === ' ') at++;
  if (line[at] !== '"') return to(line.indexOf(',', at));
  for (at++; at < line.length && line[at] !== '"'; at++) if (line[at] === '\\') at++;
  return to(line.indexOf(',', at));
}

function unquoted(value: string): string {
  if (!value.startsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}
