import { LRUCache } from 'lru-cache';
import type { Plan } from '../../graph/plan.ts';
import { planFlops } from '../../graph/planner.ts';

/** What one run of a plan takes. */
export interface PlanCost {
  /** Bytes of its arena. */
  bytes: number;
  /** Floating-point operations. */
  flops: number;
}

/** Shapes of a component whose plans' costs are remembered. */
const MAX_SHAPES = 256;

const known = new WeakMap<object, LRUCache<string, PlanCost>>();

/**
 * What a plan takes, without a device. Tracing one takes milliseconds, so that it is remembered by its key for as long
 * as the component is there that it is of.
 */
export function planCost(component: object, [key, plan]: [key: string, plan: () => Plan]): PlanCost {
  const costs = known.get(component) ?? new LRUCache<string, PlanCost>({ max: MAX_SHAPES });
  known.set(component, costs);
  const remembered = costs.get(key);
  if (remembered) return remembered;
  const traced = plan();
  const cost = { bytes: traced.arenaBytes, flops: planFlops(traced) };
  costs.set(key, cost);
  return cost;
}
