import type { Server } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { diffusion } from '../proto/index.ts';
import type { ModelDescription } from './engine/catalog.ts';

const SERVICE = diffusion.service.Generate.path.split('/')[1]!;

/** Milliseconds between looks at which models there are. */
const LOOK_MS = 5000;

/**
 * gRPC's own health service (grpc.health.v1.Health). It knows the whole by "" and by the name of the service; a model by
 * `latentedge.v1.Diffusion/NAME`: SERVING when a request that names it would be taken, whether it is loaded or not.
 */
export class Health {
  readonly #implementation = new HealthImplementation({ '': 'NOT_SERVING', [SERVICE]: 'NOT_SERVING' });
  readonly #models: () => Promise<ModelDescription[]>;
  #known = new Set<string>();
  #isReady = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(models: () => Promise<ModelDescription[]>) {
    this.#models = models;
  }

  addTo(server: Server): void {
    this.#implementation.addToServer(server);
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Says that requests are taken. */
  begin(): void {
    this.#isReady = true;
    this.#set(['', SERVICE], true);
    void this.#look();
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref();
  }

  /** Says that requests had better go elsewhere. */
  end(): void {
    this.#isReady = false;
    clearInterval(this.#timer);
    this.#set(['', SERVICE, ...this.#known], false);
  }

  async #look(): Promise<void> {
    // What cannot be listed now may be listed the next time.
    const models = await this.#models().catch(() => undefined);
    if (!models || !this.#isReady) return;
    const served = models.filter(({ kind }) => kind === 'latent-diffusion');
    const names = new Set(served.map(({ name }) => `${SERVICE}/${name}`));
    this.#set(
      [...names].filter((name) => !this.#known.has(name)),
      true,
    );
    this.#set(
      [...this.#known].filter((name) => !names.has(name)),
      false,
    );
    this.#known = names;
  }

  #set(names: string[], isServing: boolean): void {
    for (const name of names) this.#implementation.setStatus(name, isServing ? 'SERVING' : 'NOT_SERVING');
  }
}
