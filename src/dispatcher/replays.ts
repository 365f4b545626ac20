import type { Logger } from "../log.js";
import { createBackoff, sleep } from "../retry.js";
import type { Change, StreamEvent } from "../watcher/change.js";
import { recoveryFrom } from "../watcher/failure.js";
import { PastLostError, type ReadPast } from "../watcher/past.js";
import type { History } from "./history.js";
import { Replay } from "./replay.js";
import type { View } from "./view.js";

/** How long a replay is kept for others who return, in milliseconds. */
const sharedMilliseconds = 5_000;
/** How long the event loop may be kept from others, in milliseconds. */
const sliceMilliseconds = 20;
/** Between two looks at the clock. */
const eventsPerLook = 50;
/** Events that stay decoded for the next view that looks at them: those who return together have missed the same. */
const mostDecoded = 5_000;
/** Attempts at reading the oplog before those who wait for it are told to begin anew. */
const attempts = 5;

export interface ReplaysOptions {
  readonly history: History;
  readonly readPast: ReadPast;
  /** Changes that are read again from the oplog for one client at most. */
  readonly limit: number;
  /** Whether the rows that a client holds may lack some that moved while they were read. */
  readonly mayHaveMissedRows: () => boolean;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Brings those who join or return up to date: from the history in memory, and where that does not reach back far enough,
 * from the oplog. Who returns to one view shares one replay, and all that are behind the history share one change stream.
 */
export class Replays {
  readonly #shared = new Map<View, Replay>();
  readonly #options: ReplaysOptions;
  /** Replays that are behind the history, each with who waits for it. */
  readonly #behind = new Map<Replay, { promise: Promise<void>; done: () => void }>();
  #isReading = false;
  readonly #decoded = new Set<Change>();

  constructor(options: ReplaysOptions) {
    this.#options = options;
  }

  /**
   * @param isAlone - where a shared one has failed, which may have been for the sake of those who were away for longer
   * @returns the replay for those who return to the view at the position, or at a later one
   */
  of(view: View, since: string, isAlone = false): Replay {
    const found = this.#shared.get(view);
    if (!isAlone && found !== undefined && found.start <= since && found.failure === undefined) return found;
    const { mayHaveMissedRows } = this.#options;
    const replay = new Replay(view, since, { kind: "returning", mayHaveMissedRows: mayHaveMissedRows() });
    if (isAlone) return replay;
    // The older one serves more: a newer one takes its place only where that has failed.
    this.#shared.set(view, replay);
    const forget = (): void => {
      if (this.#shared.get(view) === replay) this.#shared.delete(view);
    };
    replay.onFailure(forget);
    setTimeout(forget, sharedMilliseconds).unref();
    return replay;
  }

  /** Brings a replay up to what has been dispatched. It fails where that can't be had. */
  async complete(replay: Replay): Promise<void> {
    while (!this.advance(replay)) {
      if (this.#options.history.placeAfter(replay.reached) === undefined) await this.#catchUp(replay);
      else await turnOfTheEventLoop();
    }
  }

  /**
   * Takes in what the history in memory has, as far as that can be done in one turn of the event loop.
   *
   * @returns whether the replay has all that has been dispatched, or has failed
   */
  advance(replay: Replay): boolean {
    const { history, signal } = this.#options;
    if (signal.aborted) replay.fail("too-far-behind");
    let place = history.placeAfter(replay.reached);
    const until = performance.now() + sliceMilliseconds;
    while (replay.failure === undefined) {
      if (place === undefined) return false;
      const event = history.at(place++);
      if (event === undefined) return true;
      if (event === "gone") return false;
      this.#take(replay, event);
      if (place % eventsPerLook === 0 && performance.now() > until) return false;
    }
    return true;
  }

  #take(replay: Replay, event: StreamEvent): void {
    replay.take(event);
    if (event.kind !== "change") return;
    this.#decoded.add(event);
    if (this.#decoded.size > mostDecoded) this.#forgetDecoded();
  }

  #forgetDecoded(): void {
    for (const change of this.#decoded) change.forget();
    this.#decoded.clear();
  }

  /** Resolves when the history in memory reaches back to where the replay stands, or the replay has failed. */
  #catchUp(replay: Replay): Promise<void> {
    const waiting = this.#behind.get(replay);
    if (waiting !== undefined) return waiting.promise;
    let done = (): void => {};
    const promise = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#behind.set(replay, { promise, done });
    if (!this.#isReading) void this.#readAll();
    return promise;
  }

  /** One stream at a time. Who comes while it reads waits for the next. */
  async #readAll(): Promise<void> {
    this.#isReading = true;
    // All that ask in this turn of the event loop go together.
    await new Promise((resolve) => setImmediate(resolve));
    const backoff = createBackoff({ baseMilliseconds: 500, maxMilliseconds: 5_000, floorMilliseconds: 100 });
    let failures = 0;
    while (this.#behind.size > 0 && !this.#options.signal.aborted) {
      const together = [...this.#behind.keys()];
      try {
        await this.#read(together);
        failures = 0;
      } catch (error) {
        const isGone = isFinal(error);
        this.#options.log.warn({ err: error, replays: together.length }, "past changes not read");
        failures += 1;
        if (!isGone && failures < attempts && (await sleep(backoff.next(), this.#options.signal))) continue;
        for (const replay of together) replay.fail("too-far-behind");
      }
      for (const replay of together) this.#finish(replay);
    }
    this.#forgetDecoded();
    this.#isReading = false;
  }

  #finish(replay: Replay): void {
    this.#behind.get(replay)?.done();
    this.#behind.delete(replay);
  }

  async #read(together: readonly Replay[]): Promise<void> {
    const { readPast, limit, history, signal, log } = this.#options;
    if (limit === 0) throw new TooFarError();
    // The oldest first: each joins in where it stands, so that a client that was away for longer costs the others nothing.
    const waiting = [...together].sort((a, b) => (a.reached < b.reached ? -1 : 1));
    const joined = new Map<Replay, number>();
    const ending = new AbortController();
    const began = performance.now();
    let count = 0;
    let sliceEnds = began + sliceMilliseconds;
    try {
      for await (const { events, head } of readPast(
        waiting[0]?.reached ?? "",
        AbortSignal.any([signal, ending.signal]),
      )) {
        for (const event of events) {
          while (waiting[0] !== undefined && waiting[0].reached < event.position) {
            joined.set(waiting.shift() as Replay, count);
          }
          count += 1;
          for (const replay of joined.keys()) this.#take(replay, event);
          if (count % eventsPerLook === 0 && performance.now() > sliceEnds) {
            await turnOfTheEventLoop();
            sliceEnds = performance.now() + sliceMilliseconds;
          }
        }
        for (const [replay, from] of joined) {
          if (count - from > limit) replay.fail("too-far-behind");
          if (head > replay.reached) replay.reached = head;
        }
        for (const replay of [...joined.keys(), ...waiting]) {
          if (history.placeAfter(replay.reached) === undefined && replay.failure === undefined) continue;
          if (!joined.delete(replay)) waiting.splice(waiting.indexOf(replay), 1);
          this.#finish(replay);
        }
        if (joined.size === 0 && waiting.length === 0) break;
      }
    } finally {
      ending.abort();
    }
    const seconds = (performance.now() - began) / 1_000;
    log.info({ replays: together.length, changes: count, seconds }, "past changes read");
  }
}

/** Nothing is read again from the oplog: the configuration says so. */
class TooFarError extends Error {
  readonly code = "too-far-behind";

  constructor() {
    super("history.replayLimit is 0");
    this.name = "TooFarError";
  }
}

/** Whether trying again gives the same. */
function isFinal(error: unknown): boolean {
  return error instanceof TooFarError || error instanceof PastLostError || recoveryFrom(error) === "new-epoch";
}

function turnOfTheEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
