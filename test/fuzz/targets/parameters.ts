import { parametersOf } from '../../../edge/a1111/parameters-text.ts';

// The parameters in a picture's text, as web UIs write them.

export function fuzz(bytes: Buffer): void {
  for (const [name, value] of Object.entries(parametersOf(bytes.toString('utf8'))))
    if (typeof value !== 'string') throw new Error(`Expected text for ${name}`);
}

export function seeds(): Uint8Array[] {
  return [
    Buffer.from(
      'a boat\nNegative prompt: b\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512',
    ),
    Buffer.from('Steps: 1, Lora hashes: "a: 1, b: 2", Version: "x\\"y"'),
  ];
}
