import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Engine } from '../sidecar/engine/engine.ts';
import { openPicture, type Picture } from '../sidecar/engine/picture.ts';
import type { ImageRequestInput } from '../sidecar/engine/request.ts';
import { modelFolders } from '../sidecar/engine/roots.ts';
import { native } from '../sidecar/native.ts';
import { type FeatureNetwork, openFeatures } from './features/index.ts';
import { frechetDistance, type Gaussian } from './frechet.ts';
import { type Agreement, agreement, judge } from './judged.ts';
import { median } from './statistics.ts';

export interface StudioOptions {
  /** Folders, files or names; the first reads prompts for a network that does so by its text encoder. */
  models: string[];
  controlFiles?: ReadonlyMap<string, string>;
  features: string;
  device?: string | undefined;
  threads?: number | undefined;
}

/** Pictures of one kind, and their times. */
export interface Drawn {
  pictures: Picture[];
  /** Of one picture: median over all, from request to file. */
  seconds: number;
  /** The same in CPU time, of all threads: other processes change it little. */
  cpuSeconds: number;
}

export interface Verdict extends Partial<Agreement> {
  frechet: number;
}

/** An engine that makes pictures, and a network that judges them. */
export class Studio {
  /** What the models are called, in the order of the options. */
  readonly names: string[];
  readonly network: FeatureNetwork;
  readonly deviceName: string;
  readonly #engine: Engine;
  readonly #dispose: () => Promise<void>;

  private constructor(
    names: string[],
    engine: Engine,
    network: FeatureNetwork,
    dispose: () => Promise<void>,
  ) {
    this.names = names;
    this.network = network;
    this.deviceName = engine.info().devices[0]!.name;
    this.#engine = engine;
    this.#dispose = dispose;
  }

  static async open(options: StudioOptions): Promise<Studio> {
    const { models, features, controlFiles, device = 'cpu', threads } = options;
    const folders = await modelFolders(models);
    const names = await Promise.all(models.map(nameOf));
    const engine = await Engine.open({ folders, controlFiles, device, threads });
    const judging = await native().open({ device, threads });
    const network = await openFeatures(judging, features, await folders.find(names[0]!));
    return new Studio(names, engine, network, async () => {
      await network.dispose();
      await judging.dispose();
      await engine.dispose();
    });
  }

  /** Makes the pictures of requests, after one that is not counted. @param dir where to keep their files. */
  async draw(requests: ImageRequestInput[], dir?: string): Promise<Drawn> {
    const pictures: Picture[] = [];
    const [times, cpu]: [number[], number[]] = [[], []];
    if (dir) await mkdir(dir, { recursive: true });
    await this.#engine.generate(requests[0]!);
    for (const [i, request] of requests.entries()) {
      const [before, began] = [process.cpuUsage(), performance.now()];
      const { images } = await this.#engine.generate(request);
      times.push((performance.now() - began) / 1000);
      const { user, system } = process.cpuUsage(before);
      cpu.push((user + system) / 1e6);
      const { file } = images[0]!;
      pictures.push(await openPicture(file, 'image'));
      if (dir) await writeFile(join(dir, `${String(i).padStart(5, '0')}.png`), file);
    }
    return { pictures, seconds: median(times), cpuSeconds: median(cpu) };
  }

  /** @param prompts that of each picture; retrieval is among all of them. */
  async judge(pictures: readonly Picture[], reference: Gaussian, prompts: string[]): Promise<Verdict> {
    const { gaussian, embeddings } = await judge(this.network, pictures);
    const frechet = frechetDistance(gaussian, reference);
    const { read } = this.network;
    if (!read) return { frechet };
    const different = [...new Set(prompts)];
    const texts: Float32Array[] = [];
    for (const prompt of different) texts.push(await read(prompt));
    return {
      frechet,
      ...agreement(
        embeddings,
        texts,
        prompts.map((prompt) => different.indexOf(prompt)),
      ),
    };
  }

  dispose(): Promise<void> {
    return this.#dispose();
  }
}

/** What a path's model is called. */
async function nameOf(path: string): Promise<string> {
  if (!/[\\/]|\.safetensors$/.test(path)) return path;
  return (await (await modelFolders([path])).list())[0]!.name;
}
