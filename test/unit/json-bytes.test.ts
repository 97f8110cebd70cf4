import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FileText, jsonBytes } from '../../edge/json-bytes.ts';

it('is what JSON.stringify makes, with each file as text', () => {
  const file = fc.uint8Array({ maxLength: 50 }).map((bytes) => new FileText(bytes, 'data:image/png;base64,'));
  const plain = fc.jsonValue();
  fc.assert(
    fc.property(fc.array(file, { maxLength: 4 }), plain, plain, (files, before, after) => {
      const read = JSON.parse(new TextDecoder().decode(jsonBytes({ before, files, after })));
      const texts = files.map(({ bytes, before }) => before + Buffer.from(bytes).toString('base64'));
      expect(read).toEqual(JSON.parse(JSON.stringify({ before, files: texts, after })));
    }),
  );
});

it('writes files of many pieces, between what stands before and after', () => {
  for (const length of [49_151, 49_152, 49_153, 150_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i % 251);
    const text = new TextDecoder().decode(jsonBytes({ file: new FileText(bytes) }, 'data: é ', '\n\n'));
    expect(text).toBe(`data: é {"file":"${Buffer.from(bytes).toString('base64')}"}\n\n`);
  }
});
