import type { Part } from './keys.ts';
import { unetName } from './single-file/unet.ts';

// What trainers call the tensors of their adapters. kohya: a module's path with _ for every dot, after lora_unet_,
// lora_te_; diffusers and peft: dotted paths after unet., text_encoder.; both in several generations.

/** What a tensor is to the module that it changes; names are LyCORIS' where there is no older one. */
export type Role =
  | 'up'
  | 'down'
  | 'mid'
  | 'alpha'
  | 'scalar'
  | 'magnitude'
  | 'diff'
  | 'diff_b'
  | `hada_${'w1' | 'w2'}_${'a' | 'b'}`
  | `hada_${'t1' | 't2'}`
  | `lokr_${'w1' | 'w2'}${'' | '_a' | '_b'}`
  | 'lokr_t2';

export interface AdapterKey {
  /** The module's path as the file has it, without what only says that it is an adapter's. */
  module: string;
  role: Role;
}

const oldNames: Record<string, Role> = {
  ...{ A: 'down', B: 'up', magnitude_vector: 'magnitude', dora_scale: 'magnitude' },
  ...{ w_norm: 'diff', b_norm: 'diff_b' },
};
const role = (name: string) => (oldNames[name] ?? name) as Role;

const patterns = [
  /^(.+)\.lora_(down|up|mid)\.weight$/,
  // peft writes the adapter's name, too, unless it is told to leave it out.
  /^(.+)\.lora_(A|B|magnitude_vector)(?:\.[^.]+)??(?:\.weight)?$/,
  /^(.+)\.(hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)$/,
  /^(.+)\.(alpha|scalar|dora_scale|diff|diff_b|w_norm|b_norm)$/,
  /^(.+(?:\.lora|\.lora_linear_layer|_lora))\.(down|up)\.weight$/,
];

/** @returns undefined for what is no adapter's tensor, or one of a kind that is not known. */
export function parseAdapterKey(key: string): AdapterKey | undefined {
  for (const pattern of patterns) {
    const match = pattern.exec(key);
    if (match) return { module: plain(match[1]!), role: role(match[2]!) };
  }
  return undefined;
}

/** diffusers' first generation: attn1.processor.to_out_lora; its second: attn1.to_out.0.lora. */
function plain(module: string): string {
  return module
    .replace(/(?:^|\.)base_model\.model\./, (dot) => (dot.startsWith('.') ? '.' : ''))
    .replace(/\.(?:lora|lora_linear_layer)$/, '')
    .replace('.processor.', '.')
    .replace(/\.to_out_lora$/, '.to_out.0')
    .replace(/\.(to_[qkv])_lora$/, '.$1');
}

const prefixes: [RegExp, Part][] = [
  [/^(?:lora_unet_|unet\.)/, 'unet'],
  [/^(?:lora_te1?_|text_encoder\.)/, 'text_encoder'],
  [/^(?:lora_te2_|text_encoder_2\.)/, 'text_encoder_2'],
];

/** Path after the part's prefix, where there is one. */
export function splitModule(module: string): { part?: Part; path: string } {
  for (const [prefix, part] of prefixes)
    if (prefix.test(module)) return { part, path: module.replace(prefix, '') };
  return { path: module };
}

/** The modules of a model by the names that adapters give them. */
export class AdapterTargets {
  readonly #modules = new Map<Part, Map<string, string>>();
  /** Resnets of a level of the U-Net, on the way down. */
  readonly #layers: number;

  /** @param weights names of each part's weights, as models use them. */
  constructor(weights: ReadonlyMap<Part, Iterable<string>>) {
    for (const [part, names] of weights) {
      const modules = [...names].flatMap((name) => /^(.+)\.(?:weight|bias)$/.exec(name)?.[1] ?? []);
      this.#modules.set(part, new Map(modules.map((path) => [flat(path), path])));
    }
    const unet = [...(this.#modules.get('unet')?.values() ?? [])];
    this.#layers = unet.filter((path) => /^down_blocks\.0\.resnets\.\d+\.conv1$/.test(path)).length;
  }

  /** The part and path of a module; undefined where the model has none of that name. */
  find(module: string): { part: Part; path: string } | undefined {
    const { part: named, path: given } = splitModule(module);
    for (const part of named ? [named] : this.#modules.keys()) {
      const path = this.#lookUp(part, flat(given));
      if (path !== undefined) return { part, path };
    }
    return undefined;
  }

  #lookUp(part: Part, name: string): string | undefined {
    const modules = this.#modules.get(part);
    if (part === 'unet') return modules?.get(name) ?? modules?.get(fromOriginal(name, this.#layers));
    return modules?.get(
      name
        .replace(/^text_model_/, '')
        .replace(/_self_attn_to_([qkv])$/, '_self_attn_$1_proj')
        .replace(/_self_attn_to_out_0$/, '_self_attn_out_proj'),
    );
  }
}

const flat = (path: string) => path.replaceAll('.', '_');

/** CompVis' and Stability's names of the U-Net's modules, by which trainers call those of SDXL. */
function fromOriginal(name: string, layers: number): string {
  const dotted = name
    .replace(/^(input|output)_blocks_(\d+)_(\d+)_/, '$1_blocks.$2.$3.')
    .replace(/^input_blocks_0_0$/, 'input_blocks.0.0')
    .replace(/^middle_block_(\d)_/, 'middle_block.$1.')
    .replace(/\.(in|emb|out)_layers_(\d)$/, '.$1_layers.$2')
    .replace(/^(time_embed|out)_(\d)$/, '$1.$2')
    .replace(/^label_emb_(\d)_(\d)$/, 'label_emb.$1.$2');
  return flat(unetName(`${dotted}.weight`, layers)).replace(/_weight$/, '');
}
