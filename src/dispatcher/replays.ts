import type { Logger } from "../log.js";
import { turnOfTheEventLoop } from "../retry.js";
import type { StreamEvent } from "../watcher/change.js";
import type { ReadPast } from "../watcher/past.js";
import type { History } from "./history.js";
import { OplogReader } from "./oplog-reader.js";
import { type Budget, Replay } from "./replay.js";
import { ReplayIndex } from "./replay-index.js";
import type { View } from "./view.js";

/** How long a replay is kept for others who return, in milliseconds. */
const sharedMilliseconds = 5_000;
/** How long the event loop may be kept from others in one turn, in milliseconds, by all replays together. */
const sliceMilliseconds = 10;
/** Events that one replay may take in on its own, without a turn of all. */
const eventsAlone = 200;
/** Replays whose clients are served in one turn. */
const wokenTogether = 10;
/** Of the memory that the history may take, how much all replays together may take, and one of them. */
const replaysBesideHistory = 4;

export interface ReplaysOptions {
  readonly history: History;
  readonly readPast: ReadPast;
  /** Changes that are read again from the oplog for one client at most. */
  readonly limit: number;
  /** What the history may take in memory, in bytes. */
  readonly historyBytes: number;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Brings those who join or return up to date: from the history in memory, and where that does not reach back far enough,
 * from the oplog. Who returns to one view shares one replay. All replays take the history in together, in one pass that
 * looks up which of them a change touches, so that a crowd of a thousand views costs about what one does.
 */
export class Replays {
  readonly #shared = new Map<View, Replay>();
  readonly #options: ReplaysOptions;
  readonly #oplog: OplogReader;
  readonly #budget: Budget;
  /** Those that are to take in what the history has, each with who waits for it. */
  readonly #waiting = new Map<Replay, { promise: Promise<void>; done: () => void }>();
  #isPassing = false;

  constructor(options: ReplaysOptions) {
    this.#options = options;
    this.#oplog = new OplogReader(options);
    const mostEach = options.historyBytes;
    this.#budget = { used: 0, most: replaysBesideHistory * mostEach, mostEach };
  }

  /**
   * To be released by whoever asked for it.
   *
   * @param isAlone - where a shared one has failed, which may have been for the sake of those who were away for longer
   * @returns the replay for those who return to the view at the position, or at a later one
   */
  of(view: View, since: string, isAlone = false): Replay {
    const found = this.#shared.get(view);
    if (!isAlone && found !== undefined && found.start <= since && found.failure === undefined) return found.hold();
    const replay = new Replay(view, since, { kind: "returning" }, this.#budget).hold();
    if (isAlone) return replay;
    // An older one serves more: a newer one takes its place only where that has failed.
    this.#shared.set(view, replay.hold());
    const forget = (): void => {
      if (this.#shared.get(view) === replay) this.#shared.delete(view);
    };
    replay.onFailure(forget);
    setTimeout(() => {
      forget();
      replay.release();
    }, sharedMilliseconds).unref();
    return replay;
  }

  /** Brings a replay up to what has been dispatched. It fails where that can't be had. */
  async complete(replay: Replay): Promise<void> {
    while (!this.advance(replay)) {
      if (this.#options.history.placeAfter(replay.reached) === undefined) await this.#oplog.catchUp(replay);
      else await this.#pass(replay);
    }
  }

  /**
   * Takes in what the history in memory has beyond a replay, if that is little.
   *
   * @returns whether the replay has all that has been dispatched, or has failed
   */
  advance(replay: Replay): boolean {
    const { history, signal } = this.#options;
    if (signal.aborted) replay.fail("too-far-behind");
    const place = history.placeAfter(replay.reached);
    if (replay.failure !== undefined) return true;
    if (place === undefined || history.end - place > eventsAlone) return false;
    for (let next = place; next < history.end && replay.failure === undefined; next++) {
      const event = history.at(next);
      if (event === "gone" || event === undefined) return false;
      replay.take(event);
      if (event.kind === "change") event.forget();
    }
    return true;
  }

  /** Resolves when the replay has taken part in a pass over the history. */
  #pass(replay: Replay): Promise<void> {
    const waiting = this.#waiting.get(replay);
    if (waiting !== undefined) return waiting.promise;
    let done = (): void => {};
    const promise = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#waiting.set(replay, { promise, done });
    if (!this.#isPassing) void this.#passAll();
    return promise;
  }

  /** One pass after another. Who comes meanwhile waits for the next. */
  async #passAll(): Promise<void> {
    this.#isPassing = true;
    // All that ask in this turn of the event loop go together.
    await turnOfTheEventLoop();
    while (this.#waiting.size > 0 && !this.#options.signal.aborted) {
      const together = new Map(this.#waiting);
      await this.#passOnce([...together.keys()]);
      let woken = 0;
      for (const [replay, { done }] of together) {
        this.#waiting.delete(replay);
        done();
        // Each may have many who wait for it, and all of them send what they missed before anything else gets its turn.
        if (++woken % wokenTogether === 0) await turnOfTheEventLoop();
      }
      await turnOfTheEventLoop();
    }
    this.#isPassing = false;
  }

  async #passOnce(replays: readonly Replay[]): Promise<void> {
    const { history } = this.#options;
    const index = new ReplayIndex(replays);
    let place = history.placeAfter(earliestOf(replays));
    let sliceEnds = performance.now() + sliceMilliseconds;
    let last: StreamEvent | undefined;
    while (place !== undefined) {
      const event: StreamEvent | "gone" | undefined = history.at(place++);
      if (event === undefined || event === "gone") break;
      index.take(event);
      last = event;
      if (event.kind === "change") event.forget();
      if (performance.now() < sliceEnds) continue;
      await turnOfTheEventLoop();
      sliceEnds = performance.now() + sliceMilliseconds;
    }
    if (last !== undefined) index.reached(last.position);
  }
}

function earliestOf(replays: readonly Replay[]): string {
  let earliest = replays[0]?.reached ?? "";
  for (const { reached } of replays) if (reached < earliest) earliest = reached;
  return earliest;
}
