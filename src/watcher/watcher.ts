import { type ChangeStreamOptions, type ResumeToken, Timestamp } from "mongodb";
import { type Database, notAReplicaSet } from "../database.js";
import { DatabaseUnreachableError, TailgateError } from "../errors.js";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics.js";
import { ordinals } from "../position.js";
import { createBackoff, sleep, turnOfTheEventLoop, unlessAborted, untilDone } from "../retry.js";
import { once, type Service } from "../service.js";
import type { Bookmarks } from "./bookmarks.js";
import { changeOf, type StreamEvent, timeOf } from "./change.js";
import {
  DatabaseReplacedError,
  HistoryLostError,
  isTokenRefused,
  type Recovery,
  recoveryFrom,
  recoveryFromRead,
} from "./failure.js";
import { createAssembler } from "./fragments.js";
import { LookUpError, lookUp, updatesToLookUp } from "./look-up.js";
import type { Oplog } from "./oplog.js";
import { createPatience } from "./patience.js";
import { createPositions } from "./positions.js";
import type { RawEvent } from "./raw-event.js";
import { Refill } from "./refill.js";
import { createResumePoint } from "./resume-point.js";
import {
  normalSilenceMilliseconds,
  optionsOf,
  pipelineOf,
  type RawBatch,
  readBatches,
  SilentStreamError,
} from "./stream.js";

/** Longer than the server holds back an empty batch: something is wrong, though perhaps not for long. */
const lateMilliseconds = 4_000;
const largestBatch = 1_000;
const smallestBatch = 10;
/** The server's code for "The $changeStream stage is only supported on replica sets". */
const changeStreamsNeedAReplicaSet = 40573;

/** What readiness says of a failure. The log has the error's own words, which may name hosts and documents. */
const troubles: Readonly<Record<Recovery, string>> = {
  resume: "the change stream failed and is being reopened",
  shrink: "the change stream failed and is being reopened with smaller batches",
  "new-epoch": "the change stream failed: its history is lost and it is being reopened at the current time",
  wait: "the change stream failed; the log says why",
};

const neverOpens =
  "the change stream does not open, however long it is waited for: the server may have to read through too much that was written meanwhile. A larger socketTimeoutMS in MONGODB_URI gives it more time; a gateway that is restarted begins at the current time instead, and its clients with a snapshot";

/** Where a batch goes. */
export interface Sink {
  /**
   * Takes events from `from` on, synchronously, until all are done or enough has been published for one turn of the
   * event loop.
   *
   * @returns the index of the first event that was not taken
   */
  dispatchBatch(events: readonly StreamEvent[], from: number): number;
  /**
   * Everything up to this position has been dispatched.
   *
   * @param read - how far the stream has surely been read, which may be further than what positions can tell
   */
  advance(position: string, read: string): void;
}

export interface WatcherOptions {
  /** Has to be started before the watcher. */
  database: Database;
  /** The collections whose documents matter. */
  collections: ReadonlySet<string>;
  oplog: Pick<Oplog, "firstEntry">;
  /** Told of the places that the stream passes. */
  bookmarks: Bookmarks;
  sink: Sink;
  log: Logger;
  metrics: Metrics;
  /** How long `start` waits for the stream to open, in milliseconds. */
  startTimeoutMilliseconds?: number;
}

export interface Watcher extends Service {
  /** The place up to which everything has been dispatched, or undefined before the stream is open. */
  readonly head: string | undefined;
  /** Why the stream is not being followed, or undefined while it is. */
  readonly trouble: string | undefined;
  /** Seconds since the last batch, empty or not; it grows while the database is away or silent. */
  readonly lagSeconds: number;
}

/**
 * Follows one change stream over the configured collections and hands its batches to the sink, in order, each event once.
 * Whatever ends the stream, one loop reopens it: from the last token where the history allows, else at the current time
 * after a reset of every view.
 */
export function createWatcher(options: WatcherOptions): Watcher {
  const { database, log, metrics, sink, oplog, bookmarks } = options;
  const { db } = database;
  const stopping = new AbortController();
  const position = createPositions(database);
  let head: string | undefined;
  const assemble = createAssembler();
  const backoff = createBackoff({ baseMilliseconds: 1_000, maxMilliseconds: 15_000, floorMilliseconds: 100 });
  const resume = createResumePoint(database);
  /** The history between the last token and now can't be had. */
  let lost = false;
  let hasDispatched = false;
  /** The connection was lost since the database was looked at. */
  let mayBeReplaced = false;
  /** No event has come, and the time at which the stream began has not been tried instead of a token. */
  let mayBeginAtTime = true;
  const refill = new Refill({ database, oplog, signal: stopping.signal });
  let batchSize = largestBatch;
  const patience = createPatience(normalSilenceMilliseconds, database.client.options.socketTimeoutMS);
  let lastBatchAt = performance.now();
  let trouble: string | undefined = "the change stream is not open yet";
  let running: Promise<void> | undefined;

  /** The data path's first hop: every batch that the server sends passes through this loop. */
  async function follow(opened: () => void): Promise<void> {
    const openedWith = batchSize;
    assemble.reset();
    if (mayBeReplaced) await throwIfReplaced();
    mayBeReplaced = false;
    const from = await resumePoint();
    for await (const batch of readBatches(db, pipelineOf(options.collections, database.support), {
      stream: { ...optionsOf(database.support), ...from, batchSize },
      silenceMilliseconds: patience.silenceMilliseconds,
      openingMilliseconds: patience.openingMilliseconds,
      signal: stopping.signal,
      undecodable: quarantine,
    })) {
      if (batch.isOpening && from.startAtOperationTime) await openedAt(from.startAtOperationTime, batch.token);
      await dispatch(batch);
      // What was published leaves at the end of this turn: before the next batch is asked for, not after.
      if (batch.events.length > 0) await turnOfTheEventLoop();
      lastBatchAt = performance.now();
      trouble = undefined;
      if (!batch.isOpening) healthy();
      if (refill.isOver(batch, head)) opened();
      // The size is that of the opening: to have larger ones again, the stream is reopened where it stands.
      if (batchSize >= openedWith * 8 && !assemble.incomplete && resume.token !== undefined) return;
    }
  }

  /** Not every server refuses the token of another one's stream, and its clients would hear of nothing for a while, or of what never was. */
  async function throwIfReplaced(): Promise<void> {
    const { silenceMilliseconds } = patience;
    const late = AbortSignal.timeout(silenceMilliseconds);
    const isReplaced = database.isReplaced().catch((error: unknown) => {
      throw new LookUpError(error);
    });
    const answer = await unlessAborted(isReplaced, AbortSignal.any([stopping.signal, late])).catch((error: unknown) => {
      throw late.aborted ? new SilentStreamError(silenceMilliseconds) : error;
    });
    if (answer) throw new DatabaseReplacedError();
  }

  /**
   * Where to open the stream: after the last token; without one at the time of the last event; at first where the history that
   * is read again begins. A time is always given, for "now" would be a place that is known too late.
   */
  async function resumePoint(): Promise<ChangeStreamOptions> {
    position.rewind();
    if (resume.token !== undefined) return { startAfter: resume.token };
    const { seconds, increment, ordinal } = position.settled;
    const isKnown = seconds > 0 && hasDispatched && !lost;
    const at = isKnown ? new Timestamp({ t: seconds, i: increment }) : (refill.from ?? (await refill.currentTime()));
    position.begin(timeOf(at), isKnown ? ordinal : 0);
    return { startAtOperationTime: at };
  }

  /** MongoDB's own server refuses a time that it has lost, and finds its place at once; others begin with what they have. */
  async function openedAt(time: Timestamp, token: ResumeToken | undefined): Promise<void> {
    if (database.support.isMongodb) return;
    const first = await unlessAborted(oplog.firstEntry(), stopping.signal);
    if (first?.greaterThan(time)) {
      if (hasDispatched && !lost) throw new HistoryLostError(first);
      position.begin(timeOf(first), 0);
    } else if (token !== undefined) {
      bookmarks.add({ place: { ...timeOf(time), ordinal: ordinals.before }, token });
    }
  }

  async function dispatch(batch: RawBatch): Promise<void> {
    const { events, lastWhole } = translate(batch.events);
    if (lost) {
      // Only now, with the new stream open: what a client fetches from here on is followed by every later change.
      const at = position.idle(batch);
      events.unshift({ kind: "reset", reason: "history-lost", collections: undefined, position: at });
      lost = false;
    }
    const missing = updatesToLookUp(events);
    if (missing.size > 0) {
      // On the data path proper there is nothing to wait for: inserts, deletes and updates with a post-image.
      // Of the last event that is whole: a fragment need not say its time.
      await unlessAborted(lookUp(database, missing, lastWhole?.clusterTime), stopping.signal);
    }
    for (let index = 0; index < events.length; ) {
      index = sink.dispatchBatch(events, index);
      if (index < events.length) await turnOfTheEventLoop();
    }
    resume.passed(batch, lastWhole, assemble.incomplete);
    position.settle();
    if (batch.events.length > 0) mayBeginAtTime = false;
    if (lastWhole !== undefined && !database.support.isMongodb) mark(lastWhole, batch.events.length);
    head = position.idle(batch);
    hasDispatched = true;
    sink.advance(head, position.read);
  }

  /** @param last - of some events that have been dispatched */
  function mark(last: RawEvent, events: number): void {
    const { settled } = position;
    // One that is older than what came before it has a place that is not its time.
    if (last.seconds !== settled.seconds || last.increment !== settled.increment) return;
    // A stream that begins before the end of the database ends there, too.
    const isEnd = last.operationType === "invalidate";
    if (bookmarks.passed(events) || isEnd) bookmarks.add({ place: settled, token: last.token, isEnd });
  }

  function translate(raw: readonly RawEvent[]): { events: StreamEvent[]; lastWhole: RawEvent | undefined } {
    const events: StreamEvent[] = [];
    let lastWhole: RawEvent | undefined;
    for (const fragment of raw) {
      const event = assemble.add(fragment);
      if (event === undefined) continue;
      lastWhole = event;
      const at = position.of(event);
      const translated = at === undefined ? undefined : changeOf(event, at);
      if (translated !== undefined) events.push(translated);
    }
    return { events, lastWhole };
  }

  function quarantine(error: Error): void {
    metrics.quarantined.inc({ interface: "unknown" });
    log.error({ err: error }, "document not decoded");
  }

  /** That a stream opens shows no health yet: one that opens and then always fails must be retried ever more slowly. */
  function healthy(): void {
    backoff.reset();
    patience.reset();
    batchSize = Math.min(largestBatch, batchSize * 2);
  }

  async function supervise(opened: () => void, failed: (error: unknown) => void): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await follow(opened);
      } catch (error) {
        if (stopping.signal.aborted) return;
        await recover(error, failed);
      }
    }
  }

  async function recover(error: unknown, failed: (error: unknown) => void): Promise<void> {
    const recovery = recoveryFrom(error);
    if (recovery === "new-epoch" && !hasDispatched && refill.from !== undefined) {
      // Nobody has seen anything yet, so nothing is lost: the oplog is merely shorter than the history could be.
      refill.giveUp();
      return;
    }
    mayBeReplaced = hasDispatched;
    trouble = troubles[recovery];
    metrics.streamFailures.inc({ recovery });
    log[recovery === "resume" ? "warn" : "error"]({ err: error, recovery }, "change stream failed");
    if (mayBeginAtTime && resume.token !== undefined && isTokenRefused(error)) {
      // No event has come yet, so the time at which the stream began says as much as its token, and is kept for longer: a
      // server may refuse the token of a place before its first entry.
      resume.forget();
      mayBeginAtTime = false;
    } else if (recovery === "new-epoch") {
      resume.forget();
      refill.giveUp();
      lost = true;
      bookmarks.forgetAll();
      mayBeginAtTime = true;
    } else if (recovery === "shrink") {
      batchSize = Math.max(smallestBatch, Math.floor(batchSize / 2));
      if (!patience.lengthen()) log.error(neverOpens);
    }
    if (recovery === "wait") failed(error);
    await sleep(recovery === "wait" ? Math.max(5_000, backoff.next()) : backoff.next(), stopping.signal);
  }

  return {
    name: "watcher",
    get head() {
      return head;
    },
    get trouble() {
      const isSilent = trouble === undefined && performance.now() - lastBatchAt > lateMilliseconds;
      return isSilent ? "nothing has come from the change stream for a while" : trouble;
    },
    get lagSeconds() {
      return (performance.now() - lastBatchAt) / 1_000;
    },
    async start(signal) {
      const timeout = AbortSignal.any([signal, AbortSignal.timeout(options.startTimeoutMilliseconds ?? 30_000)]);
      try {
        // A connection that breaks at this moment is no reason not to start.
        await untilDone(() => refill.begin(), {
          signal: timeout,
          mayPass: (error) => recoveryFromRead(error) === "resume",
          failed: (error) => log.warn({ err: error }, "the database's time not read yet"),
        });
        const opening = new Promise<void>((resolve, reject) => {
          running = supervise(resolve, (error) => reject(startFailure(error)));
        });
        await unlessAborted(opening, timeout);
      } catch (error) {
        if (error instanceof TailgateError || signal.aborted || !timeout.aborted) throw error;
        throw new DatabaseUnreachableError(`no change stream in time: ${trouble}`, { cause: error });
      }
    },
    stop: once(async () => {
      stopping.abort();
      await running;
    }),
  };
}

function startFailure(error: unknown): Error {
  const { code, message } = error as { code?: unknown; message?: string };
  if (code === changeStreamsNeedAReplicaSet) return notAReplicaSet();
  return new TailgateError("stream-failed", `the change stream can't be opened: ${message}`, { cause: error });
}
