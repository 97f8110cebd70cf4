import { z } from 'zod';
import { count } from '../../sidecar/checkpoints/config.ts';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { activation, conv2d, groupNorm, toNCHW, toNHWC } from '../../sidecar/models/layers.ts';

// A network of convolutions that its config.json describes layer by layer: models/training/README.md, "Features".

const layer = z.union([
  z.strictObject({
    conv2d: z.string(),
    in: count(),
    out: count(),
    kernel: count(31),
    stride: count(31),
    padding: z.int().min(0),
  }),
  z.strictObject({ group_norm: z.string(), groups: count(), eps: z.number().positive() }),
  z.literal(['silu', 'relu', 'mean over height and width']),
]);

export const classifierConfig = z.object({
  input: z.object({
    width: count(4096),
    height: count(4096),
    channels: z.literal('rgb'),
    range: z.tuple([z.number(), z.number()]),
    layout: z.literal('nchw'),
  }),
  layers: z.array(layer).min(2),
  features: count(),
  image_projection: z.object({ linear: z.string(), bias: z.literal(false) }),
  text_projection: z.object({ linear: z.string(), bias: z.literal(false) }),
});

export type ClassifierConfig = z.output<typeof classifierConfig>;

/** image [B,3,H,W] → places [B,F,h,w], whose means are the features. */
export function traceClassifier({ input, layers }: ClassifierConfig, batch: number): Graph {
  const g = new Graph('classifier');
  const w = new Weights(g);
  let x = toNHWC(g, g.input('image', [batch, 3, input.height, input.width]));
  for (const [i, each] of layers.slice(0, -1).entries())
    if (typeof each !== 'string' && 'conv2d' in each)
      x = conv2d(g, w.at(each.conv2d), x, each.out, {
        ...{ kernel: each.kernel, stride: each.stride, padding: new Array<number>(4).fill(each.padding) },
      });
    else if (typeof each !== 'string') x = groupNorm(g, w.at(each.group_norm), x, each);
    else if (each === 'silu' || each === 'relu') x = activation(g, `layers.${i}`, x, each);
    else throw new Error('Expected the mean over height and width as the last layer');
  g.output('places', toNCHW(g, x));
  return g;
}
