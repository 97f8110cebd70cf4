import { existsSync } from 'node:fs';
import { open, readFile, rename } from 'node:fs/promises';
import { controlNetTensorName } from '../../sidecar/checkpoints/single-file/controlnet.ts';

const RESNET = 'in_layers.0 in_layers.2 emb_layers.1 out_layers.0 out_layers.3 skip_connection'.split(' ');

/**
 * Names of the original code (github.com/lllyasviel/ControlNet, cldm/cldm.py) for the tensors of a ControlNet, by those
 * of diffusers. @throws Error where one has none.
 */
export function originalNames(names: readonly string[]): Map<string, string> {
  const count = (pattern: RegExp) => new Set(names.flatMap((name) => pattern.exec(name)?.[0] ?? [])).size;
  const layers = count(/^down_blocks\.0\.resnets\.\d+/);
  const hints = 2 * (count(/^controlnet_cond_embedding\.blocks\.\d+/) + 1);
  const both = (stem: string) => [`${stem}.weight`, `${stem}.bias`];
  const resnet = RESNET.flatMap(both);
  const attention = names.flatMap((name) => /\.attentions\.0\.(.+)$/.exec(name)?.[1] ?? []);
  const blocks = Array.from({ length: count(/^controlnet_down_blocks\.\d+/) }, (_, i) => i);
  const candidates = [
    ...['time_embed.0', 'time_embed.2', 'input_blocks.0.0', 'middle_block_out.0'].flatMap(both),
    ...Array.from({ length: hints / 2 + 1 }, (_, i) => both(`input_hint_block.${2 * i}`)).flat(),
    ...blocks.flatMap((i) => [
      ...[...both(`zero_convs.${i}.0`), ...both(`input_blocks.${i}.0.op`)],
      ...resnet.map((rest) => `input_blocks.${i}.0.${rest}`),
      ...attention.map((rest) => `input_blocks.${i}.1.${rest}`),
    ]),
    ...resnet.flatMap((rest) => [`middle_block.0.${rest}`, `middle_block.2.${rest}`]),
    ...attention.map((rest) => `middle_block.1.${rest}`),
  ];
  const originals = new Map(candidates.map((key) => [controlNetTensorName(key, layers, hints), key]));
  return new Map(
    names.map((name) => {
      const original = originals.get(name);
      if (original === undefined) throw new Error(`Expected a tensor of a ControlNet but received ${name}`);
      return [name, original];
    }),
  );
}

/** Writes a ControlNet's file again, by the names of the original code, the only ones that stable-diffusion.cpp knows. */
export async function writeOriginalControlNet(file: string, original: string): Promise<void> {
  if (existsSync(original)) return;
  const bytes = await readFile(file);
  const begin = 8 + Number(bytes.readBigUInt64LE());
  const header: Record<string, unknown> = JSON.parse(bytes.toString('utf8', 8, begin));
  const names = originalNames(Object.keys(header));
  const renamed = Object.fromEntries(Object.entries(header).map(([name, entry]) => [names.get(name), entry]));
  const json = Buffer.from(JSON.stringify(renamed));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const handle = await open(`${original}.part`, 'w');
  try {
    for (const part of [length, json, bytes.subarray(begin)]) await handle.writeFile(part);
  } finally {
    await handle.close();
  }
  await rename(`${original}.part`, original);
}
