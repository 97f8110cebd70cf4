import type { ModelFolder } from '../checkpoints/folder.ts';
import { partFolder } from '../checkpoints/links.ts';
import { holderOf } from '../checkpoints/model.ts';
import { standardTokenizer } from '../text/standard-vocabulary.ts';
import { ClipTokenizer } from '../text/tokenizer.ts';

const encoders = { tokenizer: 'text_encoder', tokenizer_2: 'text_encoder_2' } as const;

/**
 * The tokenizer of a model's text encoder: from its folder; the standard one for a single file.
 * @throws CheckpointError when a file is missing or is not what it should be.
 */
export async function readTokenizer(model: ModelFolder, name: keyof typeof encoders): Promise<ClipTokenizer> {
  const { dir, file } = await holderOf(model, encoders[name]);
  if (!file) return ClipTokenizer.load(await partFolder(dir, name));
  return standardTokenizer(name === 'tokenizer_2' || file.lineage === 'sd2' ? 'open-clip' : 'clip');
}
