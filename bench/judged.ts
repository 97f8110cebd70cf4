import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openPicture, type Picture } from '../sidecar/engine/picture.ts';
import type { FeatureNetwork } from './features/index.ts';
import { type Gaussian, gaussianOf } from './frechet.ts';

/** What a network saw in a set of pictures. */
export interface Judged {
  pictures: number;
  gaussian: Gaussian;
  embeddings: Float32Array[];
}

export async function judge(network: FeatureNetwork, pictures: readonly Picture[]): Promise<Judged> {
  const features: Float32Array[] = [];
  const embeddings: Float32Array[] = [];
  for (const picture of pictures) {
    const seen = await network.look(picture);
    features.push(seen.features);
    embeddings.push(seen.embedding);
  }
  return { pictures: pictures.length, gaussian: gaussianOf(features), embeddings };
}

/** How pictures agree with the texts that they were made of, by a network that reads. */
export interface Agreement {
  /** Mean cosine of a picture and its own text: the CLIP score, where the network is CLIP. */
  score: number;
  /** Share of pictures to which of all the texts their own is nearest. */
  retrieval: number;
}

/** @param own the place of each picture's text. */
export function agreement(embeddings: Float32Array[], texts: Float32Array[], own: number[]): Agreement {
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const all = embeddings.map((embedding) => texts.map((text) => dot(embedding, text)));
  const scores = all.map((row, i) => row[own[i]!]!);
  const right = all.filter((row, i) => Math.max(...row) === row[own[i]!]);
  return { score: scores.reduce((a, b) => a + b, 0) / scores.length, retrieval: right.length / all.length };
}

/** The PNG, JPEG and WebP files of a folder, by name. */
export async function picturesIn(dir: string): Promise<{ name: string; file: Buffer; picture: Picture }[]> {
  const names = (await readdir(dir)).filter((name) => /\.(png|jpe?g|webp)$/i.test(name)).sort();
  if (names.length === 0) throw new Error(`Expected PNG, JPEG or WebP files in ${dir} but found none`);
  return Promise.all(
    names.map(async (name) => {
      const file = await readFile(join(dir, name));
      return { name, file, picture: await openPicture(file, name) };
    }),
  );
}
