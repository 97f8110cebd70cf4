import type { GenerateEvent, Image } from '../sidecar/client.ts';

/** A run of a caller's, as the progress route shows it. */
export interface Task {
  id: string;
  began: number;
  step: number;
  total: number;
  images: number;
  /** The latest previews, one of each image. */
  previews: Image[];
  interrupted: boolean;
  interrupt: () => void;
}

/** What one caller has chosen and is waiting for. */
export interface Desk {
  /** Settings that count here, by their names there. */
  settings: Record<string, unknown>;
  /** Of the others, those that ask for something, for `info.ignored`. */
  idle: string[];
  tasks: Set<Task>;
}

const MAX_DESKS = 10_000;

/** A desk for each caller; one who has not been here for long loses it. */
export class Desks {
  readonly #desks = new Map<string, Desk>();

  of(caller: string): Desk {
    const desk = this.#desks.get(caller) ?? { settings: {}, idle: [], tasks: new Set() };
    // The last to have come is last in order.
    this.#desks.delete(caller);
    this.#desks.set(caller, desk);
    if (this.#desks.size > MAX_DESKS) {
      const [idle] = [...this.#desks].find(([, { tasks }]) => tasks.size === 0) ?? [];
      if (idle !== undefined) this.#desks.delete(idle);
    }
    return desk;
  }
}

/** Passes a run's events on and notes its progress while it lasts. */
export async function* watched(
  desk: Desk,
  task: Task,
  events: AsyncIterable<GenerateEvent>,
): AsyncGenerator<GenerateEvent> {
  desk.tasks.add(task);
  try {
    for await (const event of events) {
      if (task.interrupted) return;
      const { progress } = event;
      if (progress) {
        Object.assign(task, { step: progress.step, total: progress.total });
        if (progress.previews.length > 0) task.previews = progress.previews;
      }
      yield event;
    }
  } finally {
    desk.tasks.delete(task);
  }
}
