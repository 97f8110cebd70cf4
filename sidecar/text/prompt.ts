/** A part of a prompt, and how much it counts. */
export interface Segment {
  text: string;
  /** 1: as it is. Within ±`MAX_WEIGHT`. */
  weight: number;
  /** It comes after a BREAK. */
  startsChunk?: true;
}

/** What a weight is limited to, also that of nested brackets: 1.1²⁴ is about 10. */
export const MAX_WEIGHT = 10;

/** What a pair of brackets without a number multiplies by. */
const BRACKET = 1.1;

/** In this order: an escape, a weight with the bracket that ends it, a bracket, text; what is left is text too. */
const TOKENS = /\\([()[\]\\])|:\s*([+-]?[.\d]+)\s*\)|[()[\]]|[^\\()[\]:]+|[\\:]/g;
const BREAK = /(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])/u;

/** A piece of syntax: text, `by` what an opening bracket multiplies, or the end of it. */
type Token = { text: string; escaped?: true } | { bracket: '(' | '['; by?: number } | { end: true };

/**
 * Reads the prompt syntax of AUTOMATIC1111's web UI: `(a)` weighs 1.1, `((a))` 1.21, `(a:1.3)` 1.3, `[a]` 1/1.1; a
 * backslash before a bracket or another backslash makes it text; BREAK starts a new chunk. Whatever is not closed, not
 * open or not a number is text as it stands. Linear in the text's length, and throws for none.
 * Source: github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features (attention/emphasis), where in contrast an
 * unclosed bracket lasts to the end.
 * @returns one or more; neighbours of one weight are joined, so that a text without syntax is a single segment.
 */
export function parsePrompt(prompt: string): Segment[] {
  const segments: Segment[] = [{ text: '', weight: 1 }];
  const weights = [1];
  const add = (text: string, breaks: boolean) => {
    const weight = weights.at(-1)!;
    const last = segments.at(-1)!;
    if (breaks) segments.push({ text, weight, startsChunk: true });
    else if (last.weight === weight) last.text += text;
    else if (last.text === '') Object.assign(last, { text, weight });
    else if (text !== '') segments.push({ text, weight });
  };
  for (const token of tokens(prompt)) {
    if ('end' in token) weights.pop();
    else if ('text' in token) {
      const parts = token.escaped ? [token.text] : token.text.split(BREAK);
      for (const [i, part] of parts.entries()) add(part, i > 0);
    } else if (token.by === undefined) add(token.bracket, false);
    else weights.push(limit(weights.at(-1)! * token.by));
  }
  return segments;
}

/** Brackets are syntax where they pair up, the inner ones first; `by` stays undefined for the others. */
function tokens(prompt: string): Token[] {
  const found: Token[] = [];
  const open: { bracket: '(' | '['; by?: number }[] = [];
  const count = { '(': 0, '[': 0 };
  /** Whether a bracket was open for it to close; those opened inside of that one are text. */
  const close = (bracket: '(' | '[', by: number): boolean => {
    if (count[bracket] === 0) return false;
    for (let inner = open.pop()!; ; inner = open.pop()!) {
      count[inner.bracket]--;
      if (inner.bracket !== bracket) continue;
      inner.by = by;
      found.push({ end: true });
      return true;
    }
  };
  for (const [text, escaped, number] of prompt.matchAll(TOKENS)) {
    if (escaped !== undefined) found.push({ text: escaped, escaped: true });
    else if (text === '(' || text === '[') {
      const token = { bracket: text } as const;
      found.push(token);
      open.push(token);
      count[text]++;
    } else if (text === ']') close('[', 1 / BRACKET) || found.push({ text });
    else if (text === ')') close('(', BRACKET) || found.push({ text });
    else if (number === undefined) found.push({ text });
    else if (Number.isNaN(Number(number))) {
      // 1.2.3: text, and the bracket after it one without a number.
      found.push({ text: text.slice(0, -1) });
      close('(', BRACKET) || found.push({ text: ')' });
    } else close('(', limit(Number(number))) || found.push({ text });
  }
  return found;
}

function limit(weight: number): number {
  return Math.min(MAX_WEIGHT, Math.max(-MAX_WEIGHT, weight));
}
