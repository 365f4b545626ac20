/** Whoever is further behind than this gets one `reset` instead. */
const mostWaiting = 10_000;

/** A queue between what comes and a `for await` over it. */
export class Feed<Item> implements AsyncIterableIterator<Item> {
  readonly #items: Item[] = [];
  readonly #overflow: () => Item;
  readonly #left: () => void;
  #waiting: { resolve(result: IteratorResult<Item>): void; reject(error: unknown): void }[] = [];
  #end: { error: unknown } | undefined;

  /**
   * @param options.overflow - what stands for all that waits, where that is too much
   * @param options.left - called when nobody iterates any more
   */
  constructor(options: { overflow(): Item; left(): void }) {
    this.#overflow = options.overflow;
    this.#left = options.left;
  }

  push(item: Item): void {
    if (this.#end !== undefined) return;
    const reader = this.#waiting.shift();
    if (reader !== undefined) reader.resolve({ value: item, done: false });
    else if (this.#items.push(item) > mostWaiting) this.#items.splice(0, Infinity, this.#overflow());
  }

  /** @param error - thrown to who iterates, once what waits has been taken; undefined: it ends quietly */
  end(error?: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    for (const reader of this.#waiting.splice(0)) this.#finish(reader);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Item>> {
    return new Promise((resolve, reject) => {
      const reader = { resolve, reject };
      if (this.#items.length > 0) resolve({ value: this.#items.shift() as Item, done: false });
      else if (this.#end !== undefined) this.#finish(reader);
      else this.#waiting.push(reader);
    });
  }

  async return(): Promise<IteratorResult<Item>> {
    this.#items.length = 0;
    this.end();
    this.#left();
    return { value: undefined, done: true };
  }

  #finish(reader: { resolve(result: IteratorResult<Item>): void; reject(error: unknown): void }): void {
    const error = this.#end?.error;
    // Thrown once: then the iteration is over.
    this.#end = { error: undefined };
    if (error === undefined) reader.resolve({ value: undefined, done: true });
    else reader.reject(error);
  }
}
