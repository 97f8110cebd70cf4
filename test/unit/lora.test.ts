import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { type AdapterBase, readAdapter } from '../../sidecar/checkpoints/lora.ts';
import { AdapterTargets, parseAdapterKey } from '../../sidecar/checkpoints/lora-keys.ts';
import type { WeightSource } from '../../sidecar/native.ts';
import { fixtureBase, fixtureLora, publishedBase } from '../support/adapters.ts';
import { readTensors } from '../support/safetensors.ts';

const sd15 = publishedBase('sd15');
const sdxl = publishedBase('sdxl');
const targetsOf = (base: AdapterBase) =>
  new AdapterTargets(new Map([...base].map(([part, weights]) => [part, weights.map(({ name }) => name)])));

describe('names of modules', () => {
  const ofSd15 = targetsOf(sd15);
  const ofXL = targetsOf(sdxl);
  const block = 'down_blocks.0.attentions.1.transformer_blocks.0';

  test.each([
    // kohya
    [`lora_unet_${block}.attn1.to_q`, `unet ${block}.attn1.to_q`],
    [`lora_unet_${block}.attn2.to_out.0`, `unet ${block}.attn2.to_out.0`],
    [`lora_unet_${block}.ff.net.0.proj`, `unet ${block}.ff.net.0.proj`],
    ['lora_unet_mid_block.resnets.1.time_emb_proj', 'unet mid_block.resnets.1.time_emb_proj'],
    ['lora_unet_up_blocks.3.resnets.2.conv_shortcut', 'unet up_blocks.3.resnets.2.conv_shortcut'],
    ['lora_unet_time_embedding.linear_2', 'unet time_embedding.linear_2'],
    ['lora_unet_conv_in', 'unet conv_in'],
    ['lora_te_text_model.encoder.layers.11.mlp.fc1', 'text_encoder encoder.layers.11.mlp.fc1'],
    [
      'lora_te1_text_model.encoder.layers.0.self_attn.q_proj',
      'text_encoder encoder.layers.0.self_attn.q_proj',
    ],
  ])('%s', (name, expected) => {
    const found = ofSd15.find(name.replaceAll('.', '_'));
    expect(`${found?.part} ${found?.path}`).toBe(expected);
  });

  test.each([
    // kohya's scripts, for SDXL
    [
      'input_blocks_4_1_transformer_blocks_0_attn1_to_q',
      'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q',
    ],
    [
      'input_blocks_8_1_transformer_blocks_9_ff_net_2',
      'down_blocks.2.attentions.1.transformer_blocks.9.ff.net.2',
    ],
    ['input_blocks_4_1_proj_in', 'down_blocks.1.attentions.0.proj_in'],
    [
      'middle_block_1_transformer_blocks_5_attn2_to_out_0',
      'mid_block.attentions.0.transformer_blocks.5.attn2.to_out.0',
    ],
    ['middle_block_2_out_layers_3', 'mid_block.resnets.1.conv2'],
    [
      'output_blocks_0_1_transformer_blocks_3_attn2_to_v',
      'up_blocks.0.attentions.0.transformer_blocks.3.attn2.to_v',
    ],
    ['output_blocks_2_2_conv', 'up_blocks.0.upsamplers.0.conv'],
    ['output_blocks_5_2_conv', 'up_blocks.1.upsamplers.0.conv'],
    ['output_blocks_8_0_skip_connection', 'up_blocks.2.resnets.2.conv_shortcut'],
    ['input_blocks_0_0', 'conv_in'],
    ['input_blocks_1_0_in_layers_2', 'down_blocks.0.resnets.0.conv1'],
    ['input_blocks_2_0_emb_layers_1', 'down_blocks.0.resnets.1.time_emb_proj'],
    ['input_blocks_3_0_op', 'down_blocks.0.downsamplers.0.conv'],
    ['input_blocks_6_0_op', 'down_blocks.1.downsamplers.0.conv'],
    ['time_embed_0', 'time_embedding.linear_1'],
    ['label_emb_0_2', 'add_embedding.linear_2'],
    ['out_2', 'conv_out'],
    ['out_0', 'conv_norm_out'],
    // diffusers' own
    ['up_blocks_0_attentions_2_proj_out', 'up_blocks.0.attentions.2.proj_out'],
  ])('lora_unet_%s', (name, expected) => {
    expect(ofXL.find(`lora_unet_${name}`)).toEqual({ part: 'unet', path: expected });
  });

  test('two text encoders', () => {
    expect(ofXL.find('lora_te2_text_model_encoder_layers_31_self_attn_out_proj')).toEqual({
      part: 'text_encoder_2',
      path: 'encoder.layers.31.self_attn.out_proj',
    });
    expect(ofXL.find('text_encoder_2.text_model.encoder.layers.3.mlp.fc2')?.part).toBe('text_encoder_2');
    expect(ofXL.find('lora_te2_text_projection')).toEqual({
      part: 'text_encoder_2',
      path: 'text_projection',
    });
    expect(ofSd15.find('lora_te2_text_model_encoder_layers_3_mlp_fc2')).toBeUndefined();
  });

  test.each([
    'lora_unet_',
    'unet.',
    '',
    'lora_unet_output_blocks_99_1_proj_in',
    'constructor',
    'unet.__proto__',
    'lora_te_down_blocks_0',
    'lora_unet_input_blocks_1_1_proj_in',
    'lora_unet_middle_block_9_in_layers_2',
  ])('nothing is called %j', (name) => expect(ofXL.find(name)).toBeUndefined());

  test('never a name that is not there', () => {
    const part = fc.constantFrom(
      'lora_unet_',
      'input_blocks_',
      'output_blocks_',
      'middle_block_',
      '1_',
      '0_',
      'in_layers_2',
      'conv',
      'op',
      '.',
      'unet.',
      'text_model.',
      '99999999999999999999_',
      'attn1',
      'to_q',
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const found = ofXL.find(parts.join(''));
        if (found)
          expect(sdxl.get(found.part)!.some(({ name }) => name.startsWith(`${found.path}.`))).toBe(true);
      }),
    );
  });
});

test.each([
  // kohya, LyCORIS
  ['lora_unet_x.lora_down.weight', 'lora_unet_x', 'down'],
  ['lora_unet_x.lora_up.weight', 'lora_unet_x', 'up'],
  ['lora_unet_x.lora_mid.weight', 'lora_unet_x', 'mid'],
  ['lora_unet_x.alpha', 'lora_unet_x', 'alpha'],
  ['lora_unet_x.hada_w1_a', 'lora_unet_x', 'hada_w1_a'],
  ['lora_unet_x.hada_t2', 'lora_unet_x', 'hada_t2'],
  ['lora_unet_x.lokr_w1', 'lora_unet_x', 'lokr_w1'],
  ['lora_unet_x.lokr_w2_b', 'lora_unet_x', 'lokr_w2_b'],
  ['lora_unet_x.dora_scale', 'lora_unet_x', 'magnitude'],
  ['lora_unet_x.w_norm', 'lora_unet_x', 'diff'],
  // peft
  ['unet.a.0.to_q.lora_A.weight', 'unet.a.0.to_q', 'down'],
  ['unet.a.0.to_q.lora_B.weight', 'unet.a.0.to_q', 'up'],
  ['unet.a.0.to_q.lora_B.default_0.weight', 'unet.a.0.to_q', 'up'],
  ['base_model.model.a.0.to_q.lora_A.weight', 'a.0.to_q', 'down'],
  ['unet.base_model.model.a.to_q.lora_A.weight', 'unet.a.to_q', 'down'],
  ['unet.a.to_q.lora_magnitude_vector', 'unet.a.to_q', 'magnitude'],
  // diffusers, older and older
  ['unet.a.attn1.to_out.0.lora.down.weight', 'unet.a.attn1.to_out.0', 'down'],
  ['text_encoder.a.q_proj.lora_linear_layer.up.weight', 'text_encoder.a.q_proj', 'up'],
  ['unet.a.attn2.processor.to_out_lora.up.weight', 'unet.a.attn2.to_out.0', 'up'],
  ['a.attn2.processor.to_k_lora.down.weight', 'a.attn2.to_k', 'down'],
  ['text_encoder.a.self_attn.to_v_lora.down.weight', 'text_encoder.a.self_attn.to_v', 'down'],
])('%s', (key, module, role) => {
  expect(parseAdapterKey(key)).toEqual({ module, role });
});

test.each(['unet.conv_in.weight', 'alpha', '.alpha', 'lora_down.weight', 'x.oft_blocks', 'x.a1.weight', ''])(
  '%j belongs to no adapter that is known',
  (key) => expect(parseAdapterKey(key)).toBeUndefined(),
);

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-lora-'));
});
afterAll(() => rm(dir, { recursive: true }));

// A small base: one linear layer, one convolution, one of the text encoder's.
const base: AdapterBase = new Map([
  [
    'unet',
    [
      { name: 'mid.to_q.weight', shape: [6, 4] },
      { name: 'mid.conv.weight', shape: [6, 4, 3, 3] },
      { name: 'mid.conv.bias', shape: [6] },
    ],
  ],
  ['text_encoder', [{ name: 'layers.0.self_attn.q_proj.weight', shape: [4, 4] }]],
]);

/** A file of float32 tensors, zeros but where numbers are given. */
async function written(
  tensors: Record<string, number[] | { shape: number[]; values?: number[]; dtype?: string }>,
  metadata?: Record<string, string>,
): Promise<string> {
  const file = join(dir, 'adapter.safetensors');
  const sizes: Record<string, number> = { F32: 4, F16: 2, I8: 1 };
  let end = 0;
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  const parts: Buffer[] = [];
  for (const [name, given] of Object.entries(tensors)) {
    const { shape, values, dtype = 'F32' } = Array.isArray(given) ? { shape: given } : given;
    const bytes = shape.reduce((a, b) => a * b, sizes[dtype]!);
    parts.push(values ? Buffer.from(Float32Array.from(values).buffer) : Buffer.alloc(bytes));
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(file, Buffer.concat([length, json, ...parts]));
  return file;
}

const number = (value: number, shape: number[] = []) => ({ shape, values: [value] });
const kohya = (rank = 2) => ({
  'lora_unet_mid_to_q.lora_down.weight': [rank, 4],
  'lora_unet_mid_to_q.lora_up.weight': [6, rank],
});

describe('scales', () => {
  const scaleOf = async (file: string) => (await readAdapter(file, base)).get('unet')![0]!.scale;
  test('alpha over rank; 1 without an alpha', async () => {
    expect(await scaleOf(await written({ ...kohya(), 'lora_unet_mid_to_q.alpha': number(1) }))).toBe(0.5);
    expect(await scaleOf(await written({ ...kohya(), 'lora_unet_mid_to_q.alpha': number(-8, [1]) }))).toBe(
      -4,
    );
    expect(await scaleOf(await written(kohya()))).toBe(1);
  });

  test("peft's config in the header", async () => {
    const peft = { 'unet.mid.to_q.lora_A.weight': [4, 4], 'unet.mid.to_q.lora_B.weight': [6, 4] };
    const scale = async (config: unknown) =>
      scaleOf(await written(peft, { lora_adapter_metadata: JSON.stringify(config) }));
    expect(await scale({ 'unet.lora_alpha': 8, 'unet.r': 4 })).toBe(2);
    expect(await scale({ 'unet.lora_alpha': 8, 'unet.use_rslora': true })).toBe(4);
    expect(await scale({ 'unet.lora_alpha': 8, 'unet.alpha_pattern': { to_q: 1 } })).toBe(0.25);
    expect(await scale({ 'unet.lora_alpha': 8, 'unet.alpha_pattern': { o_q: 1 } })).toBe(2);
    expect(await scale({ 'text_encoder.lora_alpha': 8 })).toBe(1);
  });
});

describe('tensors as trainers lay them out', () => {
  const deltaOf = async (tensors: Parameters<typeof written>[0]) =>
    (await readAdapter(await written(tensors), base)).get('unet')!;

  test('a convolution of LoHa and of LoKr, flattened', async () => {
    const at = 'lora_unet_mid_conv';
    const [loha] = await deltaOf({
      [`${at}.hada_w1_a`]: [6, 2],
      [`${at}.hada_w1_b`]: [2, 36],
      [`${at}.hada_w2_a`]: [6, 2],
      [`${at}.hada_w2_b`]: [2, 36],
      [`${at}.alpha`]: number(1),
    });
    expect(loha).toMatchObject({ weight: 'mid.conv.weight', scale: 0.5, combine: 'hadamard' });
    expect(loha!.factors[1]).toMatchObject({ up: { shape: [6, 2] }, down: { shape: [2, 4, 3, 3] } });
    const [lokr] = await deltaOf({
      [`${at}.lokr_w1`]: [3, 2],
      [`${at}.lokr_w2_a`]: [2, 5],
      [`${at}.lokr_w2_b`]: [5, 18],
      [`${at}.alpha`]: number(1),
    });
    expect(lokr).toMatchObject({ scale: 0.2, combine: 'kronecker' });
    expect(lokr!.factors).toMatchObject([{ whole: { shape: [3, 2] } }, { down: { shape: [5, 2, 3, 3] } }]);
  });

  test('middle tensors: LyCORIS has the first factor on its side', async () => {
    const at = 'lora_unet_mid_conv';
    const [loha] = await deltaOf(
      Object.fromEntries(
        [1, 2].flatMap((i) => [
          [`${at}.hada_t${i}`, [2, 2, 3, 3]],
          [`${at}.hada_w${i}_a`, [2, 6]],
          [`${at}.hada_w${i}_b`, [2, 4]],
        ]),
      ),
    );
    expect(loha!.factors[0]).toMatchObject({
      up: { shape: [6, 2], transposed: true },
      mid: { shape: [2, 2, 3, 3] },
    });
    const [lora] = await deltaOf({
      [`${at}.lora_mid.weight`]: [3, 2, 3, 3],
      [`${at}.lora_up.weight`]: [6, 3, 1, 1],
      [`${at}.lora_down.weight`]: [2, 4, 1, 1],
    });
    expect(lora!.factors[0]).toMatchObject({ up: { shape: [6, 3, 1, 1] }, down: { shape: [2, 4, 1, 1] } });
  });

  test('weight and bias as they are; alpha has no say in it', async () => {
    const at = 'lora_unet_mid_conv';
    const deltas = await deltaOf({
      [`${at}.diff`]: [6, 4, 3, 3],
      [`${at}.diff_b`]: [6],
      [`${at}.alpha`]: number(9),
    });
    expect(deltas.map(({ weight, scale }) => [weight, scale])).toEqual([
      ['mid.conv.weight', 1],
      ['mid.conv.bias', 1],
    ]);
  });

  test('the first generation of diffusers, with and without prefixes', async () => {
    const adapter = await readAdapter(
      await written({
        'mid.processor.to_q_lora.down.weight': [2, 4],
        'mid.processor.to_q_lora.up.weight': [6, 2],
        'text_encoder.text_model.layers.0.self_attn.to_q_lora.down.weight': [2, 4],
        'text_encoder.text_model.layers.0.self_attn.to_q_lora.up.weight': [4, 2],
      }),
      base,
    );
    expect(adapter.get('unet')!.map(({ weight }) => weight)).toEqual(['mid.to_q.weight']);
    expect(adapter.get('text_encoder')!.map(({ weight }) => weight)).toEqual([
      'layers.0.self_attn.q_proj.weight',
    ]);
  });
});

describe('what does not fit', () => {
  const q = 'lora_unet_mid_to_q';
  test.each<[string, Parameters<typeof written>[0]]>([
    ['Expected the tensors of an adapter but received none', {}],
    ['Expected the tensors of LoRA, LoHa or LoKr but received conv_in.weight', { 'conv_in.weight': [4, 4] }],
    [
      'but received lora_unet_mid_to_k.lora_up.weight, for which it has no module',
      { 'lora_unet_mid_to_k.lora_up.weight': [6, 2] },
    ],
    [
      'but received lora_te2_layers_0_self_attn_q_proj.alpha, for which it has no module',
      { 'lora_te2_layers_0_self_attn_q_proj.alpha': number(1) },
    ],
    [
      `whose module has a weight of [6, 4], but received [6, 5] of ${q}.lora_down.weight`,
      { ...kohya(), [`${q}.lora_down.weight`]: [2, 5] },
    ],
    [
      `whose module has a weight of [6, 4], but received [8, 4] of ${q}.lora_down.weight`,
      { ...kohya(), [`${q}.lora_up.weight`]: [8, 2] },
    ],
    [
      `Expected ${q}.lora_up.weight and ${q}.lora_down.weight of one rank but received [6, 3] and [2, 4]`,
      { ...kohya(), [`${q}.lora_up.weight`]: [6, 3] },
    ],
    ['of one rank but received [6, 0] and [0, 4]', kohya(0)],
    ['of one rank but received [6] and [2, 4]', { ...kohya(), [`${q}.lora_up.weight`]: [6] }],
    ['of one rank but received [6, 2] and [2]', { ...kohya(), [`${q}.lora_down.weight`]: [2] }],
    ['of one rank but received [6, 2, 4] and [2, 4]', { ...kohya(), [`${q}.lora_up.weight`]: [6, 2, 4] }],
    [`Expected its up tensor beside ${q}.lora_down.weight`, { [`${q}.lora_down.weight`]: [2, 4] }],
    [
      `Expected its hada_w2_a tensor beside ${q}.hada_w1_a`,
      { [`${q}.hada_w1_a`]: [6, 2], [`${q}.hada_w1_b`]: [2, 4] },
    ],
    [`Expected its lokr_w2_a tensor beside ${q}.lokr_w1`, { [`${q}.lokr_w1`]: [3, 2] }],
    [`Expected tensors of an adapter beside ${q}.alpha`, { [`${q}.alpha`]: number(1) }],
    [
      'Expected F32, F16 or BF16 for lora_unet_mid_to_q.lora_up.weight but received I8',
      { ...kohya(), [`${q}.lora_up.weight`]: { shape: [6, 2], dtype: 'I8' } },
    ],
    [`Expected one finite number for ${q}.alpha but received [2]`, { ...kohya(), [`${q}.alpha`]: [2] }],
    [
      `Expected one finite number for ${q}.alpha but received NaN`,
      { ...kohya(), [`${q}.alpha`]: number(Number.NaN) },
    ],
    [`Expected one finite number for ${q}.alpha but received [0]`, { ...kohya(), [`${q}.alpha`]: [0] }],
    ['Expected no DoRA, which is not supported', { ...kohya(), [`${q}.dora_scale`]: [6, 1] }],
    [
      'the second for its mid.to_q.weight',
      { ...kohya(), 'unet.mid.to_q.lora_A.weight': [2, 4], 'unet.mid.to_q.lora_B.weight': [6, 2] },
    ],
    [
      'Expected one of unet.mid.to_q.lora_A.weight and unet.mid.to_q.lora.down.weight but received both',
      { 'unet.mid.to_q.lora_A.weight': [2, 4], 'unet.mid.to_q.lora.down.weight': [2, 4] },
    ],
    [`but received ${q}.diff_b, and its mid.to_q has no bias`, { [`${q}.diff_b`]: [6] }],
    [
      'has a weight of [6, 4], but received []',
      {
        [`${q}.hada_w1_a`]: [6, 2],
        [`${q}.hada_w1_b`]: [2, 4],
        [`${q}.hada_w2_a`]: [4, 2],
        [`${q}.hada_w2_b`]: [2, 6],
      },
    ],
    ['has a weight of [6, 4], but received [6, 6]', { [`${q}.lokr_w1`]: [3, 3], [`${q}.lokr_w2`]: [2, 2] }],
    ['has a weight of [6, 4], but received []', { [`${q}.diff`]: number(1) }],
  ])('%s', async (message, tensors) => {
    const file = await written(tensors);
    const error = await readAdapter(file, base).catch((error: Error) => error);
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).toContain(`, in ${file}`);
  });

  test("a config that is not peft's", async () => {
    for (const text of ['{', '[]', '{"unet.lora_alpha":"8"}', '{"unet.alpha_pattern":[1]}'])
      await expect(
        readAdapter(await written(kohya(), { lora_adapter_metadata: text }), base),
      ).rejects.toThrow("Expected peft's config in the header's lora_adapter_metadata but received");
  });

  test('another base is told by the first weight of the file that it has not, or in another shape', async () => {
    const [foreign, first] = [
      fixtureLora('tiny-sdxl-kohya'),
      'lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight',
    ];
    await expect(readAdapter(foreign, await fixtureBase('tiny-sd15'))).rejects.toThrow(
      `Expected an adapter for this model but received ${first}, for which it has no module, in ${foreign}`,
    );
    const name = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k';
    const file = await written({
      [`${name}.lora_down.weight`]: [1, 768],
      [`${name}.lora_up.weight`]: [320, 1],
    });
    await readAdapter(file, sd15);
    await expect(readAdapter(file, publishedBase('sd21'))).rejects.toThrow(
      `whose module has a weight of [320, 1024], but received [320, 768] of ${name}.lora_down.weight, in ${file}`,
    );
  });
});

describe('adapters of the fixtures', () => {
  test('kohya and peft: the same numbers for the same weights', async () => {
    const tiny = await fixtureBase('tiny-sd15');
    const contents = async (name: string) => {
      const tensors = readTensors(fixtureLora(name));
      const list = [...(await readAdapter(fixtureLora(name), tiny))].flatMap(([part, deltas]) =>
        deltas.map(({ weight, scale, factors: [factor] }): [string, unknown] => {
          const { up, down } = factor as { up: WeightSource; down: WeightSource };
          return [`${part} ${weight}`, [scale, tensors[up.name]!.data, tensors[down.name]!.data]];
        }),
      );
      return new Map(list);
    };
    const [kohya, peft] = [await contents('tiny-sd15-kohya'), await contents('tiny-sd15-peft')];
    expect(kohya.size).toBe(210);
    expect(peft).toEqual(kohya);
  });

  test('every layer of SDXL by its name in kohya’s scripts', async () => {
    const tiny = await fixtureBase('tiny-sdxl');
    const adapter = await readAdapter(fixtureLora('tiny-sdxl-kohya'), tiny);
    for (const [part, weights] of tiny) {
      const layers = weights.filter(({ name, shape }) => shape.length > 1 && !name.includes('_embedding.w'));
      expect(new Set(adapter.get(part)!.map(({ weight }) => weight))).toEqual(
        new Set(layers.map(({ name }) => name)),
      );
    }
  });
});
