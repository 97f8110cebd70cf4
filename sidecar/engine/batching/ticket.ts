/** Whether somebody waits for the images, or they are made in the background. */
export const priorities = ['interactive', 'bulk'] as const;

export type Priority = (typeof priorities)[number];

export interface TicketOptions {
  /** Default: interactive. */
  priority?: Priority | undefined;
  /** When the caller stops waiting: milliseconds since 1970. */
  deadline?: number | undefined;
  /** Once it fires, nothing of the request is begun any more. */
  signal?: AbortSignal | undefined;
  /** Of its call's span, where there are traces. */
  traceparent?: string | undefined;
}

/** A running request, as those see it who share a device with it: what its place in the order depends on. */
export class Ticket {
  readonly priority: Priority;
  readonly deadline: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly traceparent: string | undefined;
  /** Denoising steps to go, those of each image; kept up to date by who runs the request. */
  stepsLeft = 0;
  /** Milliseconds that one of them took lately, waiting included; before the first, as estimated. */
  stepMs = 0;
  /** Turns that went to others while something of it waited, since it last had one. */
  passedOver = 0;
  #mates = new Set<string>();

  constructor({ priority = 'interactive', deadline, signal, traceparent }: TicketOptions = {}) {
    this.priority = priority;
    this.deadline = deadline;
    this.signal = signal;
    this.traceparent = traceparent;
  }

  /** A run had rows of all these. */
  shared(tickets: Iterable<Ticket>): void {
    if (this.traceparent === undefined) return;
    for (const { traceparent } of tickets)
      if (traceparent !== undefined && traceparent !== this.traceparent) this.#mates.add(traceparent);
  }

  /** Traceparents of those it has shared runs with since it was asked last. */
  takeMates(): string[] {
    const mates = [...this.#mates];
    this.#mates.clear();
    return mates;
  }
}
