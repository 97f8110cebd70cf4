/**
 * Makes changed copies of bytes, the same from the same seed: bits, bytes and numbers of several bytes replaced, parts
 * taken out, doubled, moved and cut off, words put in; one to four changes each.
 */
export function mutator(seed: number, words: readonly string[] = []): (bytes: Uint8Array) => Buffer {
  // xorshift32 (Marsaglia, 2003)
  let state = seed * 2_654_435_769 || 1;
  const below = (n: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % Math.max(1, n);
  };
  const numbers = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
  const changes: ((bytes: Buffer) => Buffer)[] = [
    (bytes) => {
      if (bytes.length > 0) bytes[below(bytes.length)]! ^= 1 << below(8);
      return bytes;
    },
    (bytes) => {
      if (bytes.length > 0) bytes[below(bytes.length)] = below(256);
      return bytes;
    },
    (bytes) => {
      if (bytes.length < 4) return bytes;
      const [at, value] = [below(bytes.length - 3), numbers[below(numbers.length)]!];
      if (below(2)) bytes.writeUInt32BE(value, at);
      else bytes.writeUInt32LE(value, at);
      return bytes;
    },
    (bytes) => bytes.subarray(0, below(bytes.length + 1)),
    (bytes) => {
      const [from, length] = [below(bytes.length), below(32)];
      return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + length)]);
    },
    (bytes) => {
      const [from, to, length] = [below(bytes.length), below(bytes.length), below(64)];
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from, from + length), bytes.subarray(to)]);
    },
    (bytes) => {
      const at = below(bytes.length);
      const word = Buffer.from(words[below(words.length)] ?? '\0\0\0\0', 'latin1');
      return Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(at)]);
    },
  ];
  return (bytes) => {
    let copy: Buffer = Buffer.from(bytes);
    for (let n = 1 + below(4); n > 0; n--) copy = changes[below(changes.length)]!(copy);
    return copy;
  };
}
