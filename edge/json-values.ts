import { ApiError } from './errors.ts';

/** Values of a body, at most: 8 ControlNets with a scale for each of 1000 steps stay below it. */
const MAX_VALUES = 10_000;
/** How deep they lie in each other, at most. */
const MAX_DEPTH = 32;

/**
 * Refuses JSON of more values than any request needs, before it is read: reading and checking them would keep everybody
 * else waiting.
 * @param texts JSON, or what is meant to be; all of one body.
 * @throws ApiError
 */
export function checkValues(...texts: string[]): void {
  let values = 0;
  for (const text of texts) {
    let depth = 0;
    for (let at = 0; at < text.length; at++) {
      const character = text[at];
      if (character === '"') at = endOfString(text, at);
      else if (character === ',') values++;
      else if (character === '}' || character === ']') depth--;
      else if (character === '{' || character === '[') {
        values++;
        depth++;
      }
      if (values > MAX_VALUES) throw tooMany(`${MAX_VALUES} values`);
      if (depth > MAX_DEPTH) throw tooMany(`${MAX_DEPTH} levels`);
    }
  }
}

/** Where the string ends that begins at `start`: at its quote, or with the text. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

const tooMany = (most: string) =>
  new ApiError(400, 'invalid_request', `Expected a body with at most ${most} but received more`);
