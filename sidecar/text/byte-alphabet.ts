/**
 * GPT-2's printable stand-ins for the bytes, by byte: the 188 printable ones of Latin-1 as they are, the others, in
 * order, from U+0100 on. Source: github.com/openai/gpt-2 (src/encoder.py).
 */
export function byteAlphabet(): string[] {
  let stand = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCharCode(printable ? byte : stand++);
  });
}
