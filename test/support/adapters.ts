import { fileURLToPath } from 'node:url';
import type { Part } from '../../sidecar/checkpoints/keys.ts';
import type { AdapterBase } from '../../sidecar/checkpoints/lora.ts';
import type { Graph } from '../../sidecar/graph/builder.ts';
import {
  clipProjectionConfig,
  clipTextConfig,
  traceTextEncoder,
  traceTextEncoderXL,
} from '../../sidecar/models/clip.ts';
import { openAnyCheckpoint } from '../../sidecar/models/components.ts';
import { traceContext, traceUNet } from '../../sidecar/models/unet.ts';
import { unetConfig } from '../../sidecar/models/unet-config.ts';
import type { WeightSource } from '../../sidecar/native.ts';
import { config } from './configs.ts';
import { fixtureModel } from './fixtures.ts';

/** The weights of published models, by their configs alone. */
export function publishedBase(name: 'sd15' | 'sd21' | 'sdxl'): AdapterBase {
  const unet = config(unetConfig, `unet-${name}`);
  const size = { batch: 1, tokens: 77 };
  const ofUNet = [
    traceUNet(unet, { ...size, height: 8, width: 8 }),
    traceContext(unet, { ...size, timeIds: 6 }),
  ];
  const first = traceTextEncoder(config(clipTextConfig, name === 'sd21' ? 'clip-vit-h' : 'clip-vit-l'), size);
  const second = traceTextEncoderXL(config(clipProjectionConfig, 'clip-vit-bigg'), size);
  return new Map([
    ['unet', weightsOf(ofUNet)],
    ['text_encoder', weightsOf([first])],
    ...(name === 'sdxl' ? [['text_encoder_2', weightsOf([second])] as const] : []),
  ]);
}

function weightsOf(graphs: Graph[]) {
  const params = new Map(graphs.flatMap((graph) => [...graph.params]));
  return [...params].map(([name, shape]) => ({ name, shape: [...shape] }));
}

/** The weights of a fixture checkpoint that adapters change. */
export async function fixtureBase(name: string): Promise<AdapterBase> {
  const checkpoint = await openAnyCheckpoint(await fixtureModel(name));
  const parts = ['unet', 'text_encoder', 'text_encoder_2'] as const;
  return new Map(
    parts.flatMap((part) => {
      const component = (checkpoint as Partial<Record<Part, { sources: WeightSource[] }>>)[part];
      return component ? [[part, component.sources]] : [];
    }),
  );
}

/** The path of an adapter of test/fixtures/make_lora.py. */
export function fixtureLora(name: string): string {
  return fileURLToPath(new URL(`../fixtures/loras/${name}.safetensors`, import.meta.url));
}
