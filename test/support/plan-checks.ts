import type { Plan, TensorRef } from '../../sidecar/graph/plan.ts';
import type { Lifetime } from '../../sidecar/graph/planner.ts';

interface Range {
  start: number;
  end: number;
  what: string;
}

/**
 * Follows a plan through its arena, byte by byte, and lists what is wrong: reads of what has been overwritten or
 * never written, outputs on top of inputs, tensors outside of the arena or not aligned. Knows nothing of lifetimes.
 */
export function planFaults(plan: Plan): string[] {
  const faults: string[] = [];
  let written: Range[] = [];
  const range = ({ offset, shape }: TensorRef, what: string): Range => {
    const end = offset + 4 * shape.reduce((a, b) => a * b, 1);
    if (offset % 64 !== 0 || offset < 0 || end > plan.arenaBytes) faults.push(`${what}: ${offset}…${end}`);
    return { start: offset, end, what };
  };
  const overlap = (a: Range, b: Range) => a.start < b.end && b.start < a.end;
  const write = (to: Range) => {
    written = written.filter((other) => !overlap(to, other));
    written.push(to);
  };
  const read = (from: Range) => {
    if (!written.some(({ start, end }) => start === from.start && end === from.end))
      faults.push(`${from.what}: lost`);
  };

  for (const input of plan.inputs) write(range(input, input.name));
  if (written.length !== plan.inputs.length) faults.push('inputs overlap');
  for (const { op, scope, inputs, output } of plan.ops) {
    const to = range(output, `${op} ${scope}`);
    for (const [name, ref] of Object.entries(inputs)) {
      const from = range(ref, `${name} of ${op} ${scope}`);
      read(from);
      if (overlap(from, to)) faults.push(`${from.what}: under the output`);
    }
    write(to);
  }
  for (const output of plan.outputs) read(range(output, output.name));
  return faults;
}

/** Bytes that are live at the worst moment: no packing needs less. */
export function peakBytes(buffers: Lifetime[]): number {
  const live = (at: number) => buffers.filter(({ first, last }) => first <= at && at <= last);
  return Math.max(0, ...buffers.map(({ first }) => live(first).reduce((sum, { bytes }) => sum + bytes, 0)));
}

/** How often each op occurs. */
export function opCounts(plan: Plan): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { op } of plan.ops) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}
