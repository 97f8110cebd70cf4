import { openPart } from '../../models/components.ts';
import type { NativeDevice } from '../../native.ts';
import { FilePool } from '../file-pool.ts';
import type { DecoderChoice, DecoderChoices } from './choose.ts';
import type { Decoder, Decoders } from './decoder.ts';
import { LinearDecoder } from './linear.ts';
import { TinyDecoder } from './tiny.ts';

/** Of 10 MB each, so that they are not part of the budget for models. */
const LOADED = 4;

/** The loaded AutoencoderTinys of a device: the least recently used are let go. */
export class DecoderStore {
  readonly #device: NativeDevice;
  readonly #pool = new FilePool<TinyDecoder>({ count: LOADED, cost: Number.POSITIVE_INFINITY });

  constructor(device: NativeDevice) {
    this.#device = device;
  }

  /** Runs `work` with the decoders of a request; those that are not there are loaded. */
  use<R>({ images, previews }: DecoderChoices, work: (decoders: Decoders) => Promise<R>): Promise<R> {
    return this.#one(images, (own) => this.#one(previews, (rough) => work({ images: own, previews: rough })));
  }

  isLoaded(dir: string): boolean {
    return this.#pool.has(dir);
  }

  async dispose(): Promise<void> {
    await this.#pool.clear();
  }

  #one<R>(choice: DecoderChoice, work: (decoder: Decoder | undefined) => Promise<R>): Promise<R> {
    if (choice.kind === 'model') return work(undefined);
    if (choice.kind === 'linear') return work(new LinearDecoder(choice.space));
    const { dir } = choice.component;
    const load = async () => {
      // Its files may have changed while the request waited.
      const component = await openPart(dir, 'taesd');
      const value = await TinyDecoder.load(component, this.#device);
      return { value, cost: component.bytes, dispose: () => value.dispose() };
    };
    return this.#pool.use(dir, load, work);
  }
}
