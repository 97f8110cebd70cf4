import { describe, expect, test } from 'vitest';
import { formatPlan, plan } from '../../sidecar/graph/planner.ts';
import { clipTextConfig, pooledPositions, traceTextEncoder } from '../../sidecar/models/clip.ts';
import { config } from '../support/configs.ts';
import { opCounts, planFaults } from '../support/plan-checks.ts';

const large = config(clipTextConfig, 'clip-vit-l');
const huge = config(clipTextConfig, 'clip-vit-h');

describe('ViT-L/14 of Stable Diffusion 1.x', () => {
  const g = traceTextEncoder(large, { batch: 2, tokens: 77 });
  const planned = plan(g);

  test('ops, shapes, parameters, arena', () => {
    expect(opCounts(planned)).toEqual({ embedding: 1, layer_norm: 25, linear: 48, attention: 12 });
    expect(g.parameters).toBe(123_060_480);
    expect(planned.inputs).toMatchObject([{ name: 'input_ids', dtype: 'i32', shape: [2, 77] }]);
    expect(planned.outputs).toMatchObject([
      { name: 'penultimate', shape: [2, 77, 768] },
      { name: 'last_hidden_state', shape: [2, 77, 768] },
    ]);
    expect(planned.arenaBytes).toBe(3_311_616);
    expect(planFaults(planned)).toEqual([]);
  });

  test('is the golden plan', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/text-encoder-clip-l.txt');
  });

  test('a config from a whole CLIPModel describes the same', () => {
    const legacy = config(clipTextConfig, 'clip-vit-l-legacy');
    expect(plan(traceTextEncoder(legacy, { batch: 2, tokens: 77 }))).toEqual(planned);
  });
});

test('OpenCLIP ViT-H/14 of Stable Diffusion 2.x: 23 layers, exact gelu', () => {
  const g = traceTextEncoder(huge, { batch: 1, tokens: 77 });
  expect(g.parameters).toBe(340_387_840);
  const gelus = plan(g).ops.filter(({ attrs }) => attrs.activation === 'gelu');
  expect(gelus).toHaveLength(23);
});

test('clip_skip leaves out the last layers, and keeps the final norm', () => {
  const planned = plan(traceTextEncoder(large, { batch: 1, tokens: 77, clipSkip: 2 }));
  expect(opCounts(planned).attention).toBe(10);
  expect(planned.ops.at(-1)!.scope).toBe('final_layer_norm');
  expect(planned.outputs.map(({ name }) => name)).toEqual(['last_hidden_state']);
  for (const clipSkip of [-1, 12, 1.5])
    expect(() => traceTextEncoder(large, { batch: 1, tokens: 77, clipSkip })).toThrow(
      `Expected clip_skip from 0 to 11 but received ${clipSkip}`,
    );
});

test('more tokens than positions are refused', () => {
  expect(() => traceTextEncoder(large, { batch: 1, tokens: 78 })).toThrow('Expected at most 77 tokens');
});

test('the summary stands at the first end of text; older configs mean the highest id', () => {
  const ids = Int32Array.of(49406, 320, 49407, 49407, 49406, 5, 6, 49407);
  expect(pooledPositions({ ...large, eos_token_id: 49407 }, ids, 4)).toEqual([2, 3]);
  expect(pooledPositions(large, ids, 4)).toEqual([2, 3]);
  expect(pooledPositions({ ...large, eos_token_id: 320 }, ids, 4)).toEqual([1, 0]);
});
