import type { Tensors } from './tensors.ts';

// What files of weights are that people mistake for a checkpoint, by keys that only they have. First match counts.
const kinds: [string, RegExp][] = [
  [
    'a LoRA',
    /^lora_(unet|te\d?|transformer)_|\.(lora_(up|down|[AB]|linear_layer)|lora|hada_w1_a|lokr_w[12](_a)?|oft_blocks|oft_diag|dora_scale)\b/,
  ],
  ['a ControlNet', /^(control_model|controlnet_[\w]+)\.|^(zero_convs|input_hint_block)\.|^lllite_/],
  ['an IP-Adapter', /^(ip_adapter|image_proj)\./],
  ['a T2I-Adapter', /^(adapter\.)?body\.\d+\.(block|in_conv)|^fc\.\d+\.(block1|in_conv)/],
  ['a textual inversion embedding', /^(emb_params|string_to_param\.|clip_[lg]$|\*$)/],
  ['a motion module', /\bmotion_modules\./],
  ['Flux', /\b(double_blocks|single_transformer_blocks)\.\d+\./],
  ['Stable Diffusion 3', /\bjoint_blocks\.\d+\.|\btransformer_blocks\.\d+\.ff_context\./],
  ['Stable Cascade', /\bclip_txt_mapper\.|\beffnet_mapper\./],
  [
    'an upscaler',
    /^(body|model)\.\d+\.(rdb1|sub)\.|^(params_ema\.)?(conv_first|RRDB_trunk)\b|^body\.\d+\.rdb1\./,
  ],
  ['averages of a U-Net alone, without the U-Net', /^model_ema\./],
  ['a U-Net in diffusers layout', /^(unet\.)?down_blocks\.\d+\.(resnets|attentions)\./],
  [
    'an autoencoder',
    /^(first_stage_model\.|vae\.)?(encoder|decoder)\.(down|up|mid)(_blocks?)?\.|^(taesd_)?(encoder|decoder)\.(layers\.)?\d+\./,
  ],
  [
    'a text encoder',
    /^(cond_stage_model\.|conditioner\.)|^(text_model|transformer\.resblocks|text_encoders?)\b/,
  ],
];

/** What a file without a U-Net seems to be; undefined where nobody knows. */
export function seemsToBe(tensors: Tensors): string | undefined {
  const kind = kinds.find(([, pattern]) => tensors.find(pattern) !== undefined)?.[0];
  if (kind) return kind;
  const [only, ...others] = tensors.keys();
  const vectors = only !== undefined && others.length === 0 && tensors.get(only)!.shape.length <= 2;
  return vectors ? 'a textual inversion embedding' : undefined;
}
