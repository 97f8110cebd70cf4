import { MAX_WEIGHT, parsePrompt } from '../../../sidecar/text/prompt.ts';

// A prompt with weights: any text is a prompt, in pieces of weights within their limits.

export function fuzz(bytes: Buffer): void {
  for (const segment of parsePrompt(bytes.toString('utf8')))
    if (!(Math.abs(segment.weight) <= MAX_WEIGHT))
      throw new Error(`Expected a weight within the limits but received ${segment.weight}`);
}

export function seeds(): Uint8Array[] {
  const prompts = [
    'a (red:1.3) [apple] BREAK ((x)) \\(y\\)',
    '(((((a)))))',
    '[[[[b:0.5]]]',
    '(c:-1e308)(d:)',
  ];
  return prompts.map((prompt) => Buffer.from(prompt));
}
