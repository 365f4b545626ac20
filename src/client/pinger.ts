/** A gateway that is asked at once is often not there yet, in milliseconds. */
const firstMilliseconds = 50;
const longestMilliseconds = 2_000;

/** Asks how far the gateway is, while somebody waits for that: soon, then ever more slowly, and never too often. */
export class Pinger {
  readonly #ping: () => void;
  readonly #leastMilliseconds: () => number;
  #waiting = 0;
  #wait = firstMilliseconds;
  #pingedAt = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param leastMilliseconds - between two questions: what one asks counts among the messages that a client may send */
  constructor(ping: () => void, leastMilliseconds: () => number) {
    this.#ping = ping;
    this.#leastMilliseconds = leastMilliseconds;
  }

  /** @returns what ends the wait */
  begin(): () => void {
    this.#waiting += 1;
    this.#wait = firstMilliseconds;
    this.#schedule();
    return () => {
      this.#waiting -= 1;
      if (this.#waiting === 0) clearTimeout(this.#timer);
    };
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const allowed = this.#pingedAt + this.#leastMilliseconds() - performance.now();
    this.#timer = setTimeout(
      () => {
        this.#pingedAt = performance.now();
        this.#ping();
        this.#wait = Math.min(longestMilliseconds, this.#wait * 2);
        this.#schedule();
      },
      Math.max(this.#wait, allowed),
    );
  }
}
