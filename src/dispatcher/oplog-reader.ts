import type { Logger } from "../log.js";
import { createBackoff, sleep, turnOfTheEventLoop } from "../retry.js";
import { HistoryLostError, recoveryFrom } from "../watcher/failure.js";
import type { ReadPast } from "../watcher/past.js";
import { StreamEndedError } from "../watcher/stream.js";
import type { History } from "./history.js";
import type { Replay } from "./replay.js";
import { ReplayIndex } from "./replay-index.js";

/** How long the event loop may be kept from others in one turn, in milliseconds. */
const sliceMilliseconds = 10;
/** Attempts at reading the oplog from one place before who waits for it is told to begin anew. */
const attempts = 5;

/**
 * Reads again what the history in memory no longer has, for all who ask, with one change stream at a time. It begins where the
 * one stands that is furthest behind; each of the others joins in where it stands.
 */
export class OplogReader {
  readonly #options: OplogReaderOptions;
  /** Replays that are behind the history, each with who waits for it. */
  readonly #behind = new Map<Replay, { promise: Promise<void>; done: () => void }>();
  #isReading = false;

  constructor(options: OplogReaderOptions) {
    this.#options = options;
  }

  /** Resolves when the history in memory reaches back to where the replay stands, or the replay has failed. */
  catchUp(replay: Replay): Promise<void> {
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
    const { limit, log, signal } = this.#options;
    this.#isReading = true;
    // All that ask in this turn of the event loop go together.
    await turnOfTheEventLoop();
    const backoff = createBackoff({ baseMilliseconds: 500, maxMilliseconds: 5_000, floorMilliseconds: 100 });
    let failures = 0;
    let from = "";
    while (this.#behind.size > 0 && !signal.aborted) {
      const together = [...this.#behind.keys()].sort((a, b) => (a.reached < b.reached ? -1 : 1));
      const oldest = together[0]?.reached ?? "";
      if (oldest !== from) failures = 0;
      from = oldest;
      try {
        if (limit === 0) failAll(together);
        else await this.#read(together, failures);
        for (const replay of together) this.#finishIfDone(replay);
      } catch (error) {
        log.warn({ err: error, replays: together.length, from }, "past changes not read");
        failures += 1;
        if (isFinal(error) || failures >= attempts) failOldest(together, error);
        else await sleep(backoff.next(), signal);
        for (const replay of together) this.#finishIfDone(replay);
      }
    }
    this.#isReading = false;
  }

  #finishIfDone(replay: Replay): boolean {
    const isDone = replay.failure !== undefined || this.#options.history.placeAfter(replay.reached) !== undefined;
    if (!isDone) return false;
    this.#behind.get(replay)?.done();
    this.#behind.delete(replay);
    return true;
  }

  /** @param sorted - those that are furthest behind first @param failures - how often it has failed from this place */
  async #read(sorted: readonly Replay[], failures: number): Promise<void> {
    const { readPast, limit, signal, log } = this.#options;
    const left = new Set(sorted);
    const index = new ReplayIndex(sorted);
    /** How many changes had been read when each was joined. */
    const joinedAt = new Map<Replay, number>();
    let next = 0;
    let count = 0;
    const joinAll = (position: string): void => {
      for (let replay = sorted[next]; replay !== undefined && replay.reached < position; replay = sorted[++next]) {
        joinedAt.set(replay, count);
      }
    };
    const ending = new AbortController();
    const began = performance.now();
    let sliceEnds = began + sliceMilliseconds;
    try {
      const from = sorted[0]?.reached ?? "";
      const batches = readPast(from, {
        signal: AbortSignal.any([signal, ending.signal]),
        patience: 2 ** (failures + 1),
      });
      for await (const { events, head } of batches) {
        for (const event of events) {
          joinAll(event.position);
          count += 1;
          index.take(event);
          if (event.kind === "change") event.forget();
          if (performance.now() < sliceEnds) continue;
          await turnOfTheEventLoop();
          sliceEnds = performance.now() + sliceMilliseconds;
        }
        joinAll(head);
        index.reached(head);
        for (const replay of left) {
          if (count - (joinedAt.get(replay) ?? count) > limit) replay.fail("too-far-behind");
          if (this.#finishIfDone(replay)) left.delete(replay);
        }
        if (left.size === 0) break;
      }
    } finally {
      ending.abort();
    }
    const seconds = (performance.now() - began) / 1_000;
    log.info({ replays: sorted.length, changes: count, seconds }, "past changes read");
  }
}

export interface OplogReaderOptions {
  readonly history: History;
  readonly readPast: ReadPast;
  /** Changes that are read again from the oplog for one client at most. */
  readonly limit: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

function failAll(replays: readonly Replay[]): void {
  for (const replay of replays) replay.fail("too-far-behind");
}

/** What can't be had from the place of the one that is furthest behind may still be had from where the others stand. */
function failOldest(sorted: readonly Replay[], error: unknown): void {
  const isLost = (replay: Replay): boolean =>
    replay === sorted[0] || (error instanceof HistoryLostError && replay.reached < error.oldest);
  failAll(sorted.filter(isLost));
}

/** Whether trying again from the same place gives the same. */
function isFinal(error: unknown): boolean {
  return error instanceof StreamEndedError || recoveryFrom(error) === "new-epoch";
}
