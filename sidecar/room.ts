interface Waiting {
  amount: number;
  begin: () => void;
}

/** So much of something for all together: who needs more than is left waits, and those who come later behind it. */
export class Room {
  readonly #most: number;
  readonly #waiting: Waiting[] = [];
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Takes of it when it is there; more than there is, when nobody else has any.
   * @returns gives it back.
   * @throws the signal's reason, where it fires before that.
   */
  async take(amount: number, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(one), 1);
        reject(signal!.reason);
        this.#next();
      };
      const begin = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const one: Waiting = { amount, begin };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(one);
      this.#next();
    });
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#taken -= amount;
      this.#next();
    };
  }

  #next(): void {
    for (;;) {
      const [first] = this.#waiting;
      if (!first || (this.#taken > 0 && this.#taken + first.amount > this.#most)) return;
      this.#waiting.shift();
      this.#taken += first.amount;
      first.begin();
    }
  }
}
