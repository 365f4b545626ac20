import type { HistorySettings } from "../config/settings.js";
import type { StreamEvent } from "../watcher/change.js";

/** What a reset takes in memory, roughly. */
const bytesPerReset = 250;

/**
 * The newest events of the stream, bounded by count and bytes, so that a client that joins or returns is brought up to date
 * from memory.
 */
export class History {
  readonly #limits: { events: number; bytes: number };
  /** Those that have left are undefined: the memory of large ones must not wait for their places to be cut off. */
  #events: (StreamEvent | undefined)[] = [];
  /** Index of the oldest event that is kept; the places before it are cut off now and then. */
  #first = 0;
  #bytes = 0;
  #start: string | undefined;
  /** How many events have ever left: the place of the first event in `#events`, counted from the beginning of time. */
  #removed = 0;

  constructor(limits: Pick<HistorySettings, "events" | "megabytes">) {
    this.#limits = { events: limits.events, bytes: limits.megabytes * 1_000_000 };
  }

  /** Every event after this position is here, or undefined before the stream is open. */
  get start(): string | undefined {
    return this.#start;
  }

  get size(): number {
    return this.#events.length - this.#first;
  }

  /** The place after the newest event. */
  get end(): number {
    return this.#removed + this.#events.length;
  }

  /** @param position - the stream begins here: what came before it is not known */
  begin(position: string): void {
    this.#removed += this.#events.length;
    this.#events = [];
    this.#first = 0;
    this.#bytes = 0;
    this.#start = position;
  }

  push(event: StreamEvent): void {
    this.#events.push(event);
    this.#bytes += sizeOf(event);
    while (this.size > this.#limits.events || (this.#bytes > this.#limits.bytes && this.size > 0)) this.#drop();
    if (this.#first > 1_000 && this.#first > this.#events.length / 2) this.#compact();
  }

  /** @returns the place of the first event after the position, or undefined where some of those have left already. */
  placeAfter(position: string): number | undefined {
    if (this.#start === undefined || position < this.#start) return undefined;
    let low = this.#first;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#events[middle] as StreamEvent).position > position) high = middle;
      else low = middle + 1;
    }
    return this.#removed + low;
  }

  /** @returns the event at the place, "gone" where it has left, or undefined where it has not come yet. */
  at(place: number): StreamEvent | "gone" | undefined {
    const index = place - this.#removed;
    return index < this.#first ? "gone" : this.#events[index];
  }

  #drop(): void {
    const event = this.#events[this.#first] as StreamEvent;
    this.#bytes -= sizeOf(event);
    this.#start = event.position;
    this.#events[this.#first] = undefined;
    this.#first += 1;
  }

  #compact(): void {
    this.#events = this.#events.slice(this.#first);
    this.#removed += this.#first;
    this.#first = 0;
  }
}

function sizeOf(event: StreamEvent): number {
  return event.kind === "change" ? event.size : bytesPerReset;
}
