import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../sidecar/checkpoints/config.ts';
import { formatPlan, plan } from '../../sidecar/graph/planner.ts';
import {
  clipProjectionConfig,
  clipTextConfig,
  pooledPositions,
  pooledRows,
  traceTextEncoder,
  traceTextEncoderXL,
} from '../../sidecar/models/clip.ts';
import { config, configJson } from '../support/configs.ts';
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

describe('OpenCLIP ViT-bigG/14 of Stable Diffusion XL', () => {
  const bigG = config(clipProjectionConfig, 'clip-vit-bigg');

  test('32 layers and a projection: 694,659,840 parameters', () => {
    const g = traceTextEncoderXL(bigG, { batch: 1, tokens: 77 });
    const planned = plan(g);
    expect(g.parameters).toBe(694_659_840);
    expect(traceTextEncoder(bigG, { batch: 1, tokens: 77 }).params).toEqual(g.params);
    expect(opCounts(planned)).toEqual({ embedding: 1, layer_norm: 65, linear: 129, attention: 32 });
    expect(planned.outputs).toMatchObject([
      { name: 'hidden_states', shape: [1, 77, 1280] },
      { name: 'text_embeds', shape: [1, 77, 1280] },
    ]);
    expect(planned.arenaBytes).toBe(2_759_680);
    expect(planFaults(planned)).toEqual([]);
  });

  test('clip_skip takes earlier states, and projects the last', () => {
    const skipping = traceTextEncoderXL(bigG, { batch: 1, tokens: 77, clipSkip: 2 });
    expect(opCounts(plan(skipping)).attention).toBe(32);
    const without = traceTextEncoderXL(large, { batch: 1, tokens: 77, clipSkip: 2 });
    expect(opCounts(plan(without))).toEqual({ embedding: 1, layer_norm: 18, linear: 36, attention: 9 });
    expect(plan(without).outputs.map(({ name }) => name)).toEqual(['hidden_states']);
    for (const clipSkip of [-1, 12, 0.5])
      expect(() => traceTextEncoderXL(large, { batch: 1, tokens: 77, clipSkip })).toThrow(
        `Expected clip_skip from 0 to 11 but received ${clipSkip}`,
      );
  });

  test('a projection of 512 where the config does not say', () => {
    const { projection_dim, ...json } = configJson('clip-vit-bigg');
    expect(projection_dim).toBe(1280);
    expect(parseConfig(clipProjectionConfig, json, 'x').projection).toBe(512);
  });
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

test('rows that count', () => {
  const values = Float32Array.from({ length: 12 }, (_, i) => i);
  expect([...pooledRows(values, [2, 0], 3)]).toEqual([4, 5, 6, 7]);
});
