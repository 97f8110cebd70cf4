/** Merge rules and vocabulary of a byte-pair encoding (arXiv:1508.07909), as CLIP uses it: words end in `</w>`. */
export interface BpeModel {
  /** Token → id. */
  vocab: ReadonlyMap<string, number>;
  /** `left right` → rank; the lowest rank is merged first. */
  ranks: ReadonlyMap<string, number>;
  /** Stands for symbols outside the vocabulary. */
  unknownId: number;
}

/**
 * The token ids of one word: `symbols` are merged pair by pair, lowest rank first and leftmost among equals, until no
 * rule applies. O(n log n) for n symbols.
 * @param symbols one or more; the last carries the end-of-word mark.
 */
export function bpe(symbols: string[], { vocab, ranks, unknownId }: BpeModel): number[] {
  const n = symbols.length;
  const parts: (string | undefined)[] = [...symbols];
  const next = Int32Array.from(symbols, (_, i) => i + 1);
  const previous = Int32Array.from(symbols, (_, i) => i - 1);
  const queue = new MinHeap();

  const rankAt = (i: number): number | undefined => {
    const right = i >= 0 && i < n ? parts[next[i]!] : undefined;
    return right === undefined ? undefined : ranks.get(`${parts[i]} ${right}`);
  };
  const offer = (i: number): void => {
    const rank = rankAt(i);
    if (rank !== undefined) queue.push(rank * n + i);
  };

  for (let i = 0; i + 1 < n; i++) offer(i);
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    const i = key % n;
    // An entry is stale once either half has been merged into something else.
    if (parts[i] === undefined || rankAt(i) !== Math.floor(key / n)) continue;
    const right = next[i]!;
    parts[i] += parts[right]!;
    parts[right] = undefined;
    next[i] = next[right]!;
    if (next[i]! < n) previous[next[i]!] = i;
    offer(previous[i]!);
    offer(i);
  }
  return parts.filter((part) => part !== undefined).map((part) => vocab.get(part) ?? unknownId);
}

/** A binary heap of numbers. */
class MinHeap {
  private readonly items: number[] = [];

  push(value: number): void {
    const { items } = this;
    let at = items.push(value) - 1;
    for (let parent = (at - 1) >> 1; at > 0 && items[parent]! > value; parent = (at - 1) >> 1) {
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = value;
  }

  pop(): number | undefined {
    const { items } = this;
    const smallest = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return smallest;
    let at = 0;
    for (let child = 1; child < items.length; child = 2 * at + 1) {
      if (child + 1 < items.length && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= last) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = last;
    return smallest;
  }
}
