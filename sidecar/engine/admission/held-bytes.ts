/** Bytes of the pictures and tensors of a request, wherever they stand in it: what it holds while it waits. */
export function heldBytes(value: unknown): number {
  if (ArrayBuffer.isView(value)) return value.byteLength;
  if (typeof value !== 'object' || value === null) return 0;
  return Object.values(value).reduce((sum: number, part) => sum + heldBytes(part), 0);
}
