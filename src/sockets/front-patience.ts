/** How long a client that is behind with reading is waited for. */
export interface PatienceOptions {
  /** The longest wait for a client that takes nothing. */
  milliseconds: number;
  /** The slowest reading that is waited for in the long run. */
  bytesPerSecond: number;
}

/** Time that runs out while a client is behind, and that it earns again with what it takes. */
export class Patience {
  readonly #options: PatienceOptions;
  #left: number;
  #behindSince: number | undefined;

  constructor(options: PatienceOptions) {
    this.#options = options;
    this.#left = options.milliseconds;
  }

  /** From now on, the client is behind, or no longer is. */
  setBehind(behind: boolean): void {
    this.#count();
    this.#behindSince = behind ? performance.now() : undefined;
  }

  taken(bytes: number): void {
    this.#count();
    this.#left = Math.min(this.#options.milliseconds, this.#left + (bytes / this.#options.bytesPerSecond) * 1000);
  }

  get leftMilliseconds(): number {
    this.#count();
    return this.#left;
  }

  #count(): void {
    if (this.#behindSince === undefined) return;
    const now = performance.now();
    this.#left -= now - this.#behindSince;
    this.#behindSince = now;
  }
}
