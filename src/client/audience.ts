import { call } from "./call.js";
import { Feed } from "./feed.js";
import type { Change, Doc, LiveUpdate, Reset } from "./types.js";

type Item<Row extends Doc> = Change<Row> | Reset<Row>;
type Listener<Row extends Doc> = (update: LiveUpdate<Row>) => void;

/** Who is told what happens to a live copy: listeners, once for all that comes together, and loops, of each change. */
export class Audience<Row extends Doc> {
  readonly #now: () => Omit<LiveUpdate<Row>, "changes" | "replaced">;
  readonly #listeners = new Set<Listener<Row>>();
  readonly #feeds = new Set<Feed<Item<Row>>>();
  #changes: Change<Row>[] = [];
  #replaced = false;
  #current: LiveUpdate<Row> | undefined;
  /** What is going to tell the listeners. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param now - how the copy is */
  constructor(now: () => Omit<LiveUpdate<Row>, "changes" | "replaced">) {
    this.#now = now;
  }

  /** What the listeners were told last; where there are none, what they would be. */
  get current(): LiveUpdate<Row> {
    this.#current ??= { ...this.#now(), changes: [], replaced: true };
    return this.#current;
  }

  subscribe(listener: Listener<Row>): () => void {
    // Who is there already gets what is waiting for them, for the newcomer's documents have it in them.
    this.#tellNow();
    // The same function may be given twice.
    const own: Listener<Row> = (update) => listener(update);
    this.#listeners.add(own);
    call(own, { ...this.current, changes: [], replaced: true });
    return () => this.#listeners.delete(own);
  }

  /** @param error - what it ended with already; undefined: it goes on, or was closed */
  feed(end: { error: unknown } | undefined): Feed<Item<Row>> {
    const feed: Feed<Item<Row>> = new Feed({
      overflow: () => ({ operation: "reset", reason: "too-slow", docs: this.#now().docs }),
      left: () => this.#feeds.delete(feed),
    });
    if (end === undefined) this.#feeds.add(feed);
    else feed.end(end.error);
    return feed;
  }

  changed(change: Change<Row>): void {
    for (const feed of this.#feeds) feed.push(change);
    if (this.#listeners.size > 0) this.#changes.push(change);
    this.tell();
  }

  /** The documents are others than before. */
  replaced(): void {
    this.#changes = [];
    this.#replaced = true;
    this.tell();
  }

  /** There are documents again, after those of before were void. */
  reset(reset: Reset<Row>): void {
    for (const feed of this.#feeds) feed.push(reset);
  }

  tell(): void {
    if (this.#listeners.size === 0) {
      this.#current = undefined;
      this.#replaced = false;
    } else {
      this.#timer ??= setTimeout(() => this.#tellNow(), 0);
    }
  }

  end(error: unknown): void {
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
    this.tell();
  }

  #tellNow(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const update = { ...this.#now(), changes: this.#changes, replaced: this.#replaced };
    this.#current = update;
    this.#changes = [];
    this.#replaced = false;
    for (const listener of [...this.#listeners]) {
      // One that was told before may have made another leave.
      if (this.#listeners.has(listener)) call(listener, update);
    }
  }
}
