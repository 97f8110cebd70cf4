import { pooledPositions, pooledRows } from '../../models/clip.ts';
import { planTextEncoder } from '../../models/components.ts';
import { evaluate, type Module, openOne, tensor } from './run.ts';

/**
 * input_ids [B,T] → last_hidden_state, penultimate [B,T,C]; where the text ends, pooler_output [B,C], or text_embeds
 * [B,P] of an encoder with a projection
 */
export function textEncoder(part: 'text_encoder' | 'text_encoder_2'): Module {
  return async (device, path, inputs) => {
    const text_encoder = await openOne(path, part);
    const { config } = text_encoder;
    const input = tensor(inputs, 'input_ids', ['B', 'T']);
    const [batch, tokens] = input.shape as [number, number];
    if (tokens > config.max_position_embeddings)
      throw new Error(
        `Expected at most ${config.max_position_embeddings} tokens in input_ids but received ${tokens}`,
      );
    const odd = input.data.find((id) => !Number.isInteger(id) || id < 0 || id >= config.vocab_size);
    if (odd !== undefined)
      throw new Error(
        `Expected token ids from 0 to ${config.vocab_size - 1} in input_ids but received ${odd}`,
      );
    const input_ids = Int32Array.from(input.data);
    const plan = planTextEncoder({ text_encoder }, { batch, tokens });
    const out = await evaluate(device, text_encoder.sources, plan, { input_ids });

    const [from, to] = out.has('text_embeds')
      ? (['text_embeds', 'text_embeds'] as const)
      : (['last_hidden_state', 'pooler_output'] as const);
    const { shape, data } = out.get(from)!;
    const rows = pooledRows(data as Float32Array, pooledPositions(config, input_ids, tokens), tokens);
    return out.set(to, { shape: [batch, shape[2]!], data: rows });
  };
}
