import { elements } from '../../graph/signature.ts';
import type { FilePart, Lineage } from './part.ts';
import { type Tensors, weight } from './tensors.ts';

// The autoencoder as CompVis named it: github.com/CompVis/latent-diffusion, ldm/modules/diffusionmodules/model.py.

const attention: Record<string, string> = {
  norm: 'group_norm',
  q: 'to_q',
  k: 'to_k',
  v: 'to_v',
  proj_out: 'to_out.0',
};

// What training needed: the loss's networks, averages.
const training = /^(loss|model_ema|discriminator)\./;

/**
 * The models' name of a tensor; the key itself where it is none of an autoencoder.
 * @param levels of the decoder, which counts them from the image.
 */
export function vaeName(key: string, levels: number): string {
  return key
    .replace(/^encoder\.down\.(\d+)\./, 'encoder.down_blocks.$1.')
    .replace(/^decoder\.up\.(\d+)\./, (_, i) => `decoder.up_blocks.${levels - 1 - Number(i)}.`)
    .replace(/(_blocks\.\d+)\.block\./, '$1.resnets.')
    .replace(/(_blocks\.\d+)\.(down|up)sample\./, '$1.$2samplers.0.')
    .replace(/^(en|de)coder\.mid\.block_([12])\./, (_, side, i) => `${side}coder.mid_block.resnets.${i - 1}.`)
    .replace(
      /^(en|de)coder\.mid\.attn_1\.(norm|q|k|v|proj_out)\./,
      (_, side, of) => `${side}coder.mid_block.attentions.0.${attention[of]}.`,
    )
    .replace(/\.nin_shortcut\./, '.conv_shortcut.')
    .replace(/^(en|de)coder\.norm_out\./, '$1coder.conv_norm_out.');
}

/** @throws CheckpointError naming what does not make an autoencoder. */
export function vaePart(tensors: Tensors, lineage: Lineage): FilePart {
  const levels = tensors.count('encoder.down');
  const channels = Array.from(
    { length: levels },
    (_, i) => tensors.shape(`encoder.down.${i}.block.0.conv1.weight`, 4)[0]!,
  );
  const keys = tensors.keys().filter((key) => !training.test(key));
  const sources = keys.map((key) => {
    const source = weight(tensors.get(key)!, tensors.file, vaeName(key, levels));
    // Attention is 1×1 convolutions here, linear layers there.
    const linear = source.name.includes('.attentions.') && source.shape.length > 2;
    const [rows = 1, columns = 1] = source.shape;
    return linear && elements(source.shape) === rows * columns
      ? { ...source, shape: [rows, columns] }
      : source;
  });
  const xl = lineage === 'sdxl' || lineage === 'sdxl-refiner';
  const config = {
    _class_name: 'AutoencoderKL',
    in_channels: tensors.shape('encoder.conv_in.weight', 4)[1]!,
    out_channels: tensors.shape('decoder.conv_out.weight', 4)[0]!,
    latent_channels: tensors.shape('decoder.conv_in.weight', 4)[1]!,
    block_out_channels: channels,
    down_block_types: channels.map(() => 'DownEncoderBlock2D'),
    up_block_types: channels.map(() => 'UpDecoderBlock2D'),
    layers_per_block: tensors.count('encoder.down.0.block'),
    mid_block_add_attention: tensors.has('decoder.mid.attn_1.q.weight'),
    use_quant_conv: tensors.has('quant_conv.weight'),
    use_post_quant_conv: tensors.has('post_quant_conv.weight'),
    scaling_factor: xl ? 0.13025 : 0.18215,
    ...(xl && { force_upcast: true }),
  };
  return { className: 'AutoencoderKL', config, sources };
}
