import type { ChangeStreamDocument, ChangeStreamOptions, Document, ResumeToken } from "mongodb";
import { type Database, decoding, notAReplicaSet } from "../database.js";
import { DatabaseUnreachableError, TailgateError } from "../errors.js";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics.js";
import { formatPosition, ordinals } from "../position.js";
import { createBackoff, sleep } from "../retry.js";
import { once, type Service } from "../service.js";
import { changeOf, type StreamEvent, timeOf, timeOfToken } from "./change.js";
import { type Recovery, recoveryFrom } from "./failure.js";
import { createAssembler } from "./fragments.js";
import { lookUp } from "./look-up.js";
import { readBatches } from "./stream.js";

/** How long the server may hold back an empty batch, in milliseconds. */
const maxAwaitTimeMS = 1_000;
/** Beyond `maxAwaitTimeMS`, what silence is still taken for a slow network. */
const silenceAllowanceMilliseconds = 5_000;
const longestSilenceMilliseconds = 300_000;
const largestBatch = 1_000;
const smallestBatch = 10;
/** The server's code for "The $changeStream stage is only supported on replica sets". */
const changeStreamsNeedAReplicaSet = 40573;

/** Where a batch goes. */
export interface Sink {
  /**
   * Takes events from `from` on, synchronously, until all are done or enough has been published for one turn of the
   * event loop.
   *
   * @returns the index of the first event that was not taken
   */
  dispatchBatch(events: readonly StreamEvent[], from: number): number;
  /** Everything up to this position has been dispatched. */
  advance(position: string): void;
}

export interface WatcherOptions {
  /** Has to be started before the watcher. */
  database: Database;
  /** The collections whose documents matter. */
  collections: ReadonlySet<string>;
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
  const { database, log, metrics, sink } = options;
  const { db } = database;
  const stopping = new AbortController();
  const position = createPositions(() => database.tag);
  const assemble = createAssembler();
  const backoff = createBackoff({ baseMilliseconds: 1_000, maxMilliseconds: 15_000, floorMilliseconds: 100 });
  let token: ResumeToken | undefined;
  let lost = false;
  let batchSize = largestBatch;
  let silenceMilliseconds = maxAwaitTimeMS + silenceAllowanceMilliseconds;
  let lastBatchAt = performance.now();
  let trouble: string | undefined = "the change stream is not open yet";
  let running: Promise<void> | undefined;

  /** The data path's first hop: every batch that the server sends passes through this loop. */
  async function follow(opened: () => void): Promise<void> {
    const resumeFrom: ChangeStreamOptions = token === undefined ? {} : { startAfter: token };
    assemble.reset();
    let isOpening = true;
    for await (const batch of readBatches(db, pipelineOf(options), {
      stream: { ...streamOptions(options), ...resumeFrom, batchSize },
      silenceMilliseconds,
      signal: stopping.signal,
    })) {
      const events = translate(batch.events);
      if (lost) {
        // Only now, with the new stream open: what a client fetches from here on is followed by every later change.
        events.unshift({
          kind: "reset",
          reason: "history-lost",
          collections: undefined,
          position: position.idle(batch.token),
        });
        lost = false;
      }
      await lookUp(db, events);
      for (let index = 0; index < events.length; ) {
        index = sink.dispatchBatch(events, index);
        if (index < events.length) await turnOfTheEventLoop();
      }
      if (!assemble.incomplete) token = batch.token ?? batch.events.at(-1)?._id ?? token;
      sink.advance(position.idle(batch.token));
      lastBatchAt = performance.now();
      trouble = undefined;
      if (isOpening) opened();
      else healthy();
      isOpening = false;
    }
  }

  function translate(raw: readonly ChangeStreamDocument[]): StreamEvent[] {
    const events: StreamEvent[] = [];
    for (const fragment of raw) {
      const event = assemble.add(fragment);
      if (event === undefined) continue;
      const translated = changeOf(event, position.of(event));
      if (translated !== undefined) events.push(translated);
    }
    return events;
  }

  /** That a stream opens shows no health yet: one that opens and then always fails must be retried ever more slowly. */
  function healthy(): void {
    backoff.reset();
    silenceMilliseconds = maxAwaitTimeMS + silenceAllowanceMilliseconds;
    batchSize = Math.min(largestBatch, batchSize * 2);
  }

  async function supervise(opened: () => void, failed: (error: unknown) => void): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await follow(opened);
      } catch (error) {
        const recovery = recoveryFrom(error);
        trouble = `the change stream failed: ${error instanceof Error ? error.message : String(error)}`;
        metrics.streamFailures.inc({ recovery });
        log[recovery === "resume" ? "warn" : "error"]({ err: error, recovery }, "change stream failed");
        prepare(recovery);
        if (recovery === "wait") failed(error);
        await sleep(recovery === "wait" ? Math.max(5_000, backoff.next()) : backoff.next(), stopping.signal);
      }
    }
  }

  function prepare(recovery: Recovery): void {
    if (recovery === "new-epoch") {
      token = undefined;
      lost = true;
    } else if (recovery === "shrink") {
      batchSize = Math.max(smallestBatch, Math.floor(batchSize / 2));
      silenceMilliseconds = Math.min(longestSilenceMilliseconds, silenceMilliseconds * 2);
    }
  }

  return {
    name: "watcher",
    get head() {
      return position.head;
    },
    get trouble() {
      return trouble;
    },
    get lagSeconds() {
      return (performance.now() - lastBatchAt) / 1_000;
    },
    async start(signal) {
      const timeout = AbortSignal.any([signal, AbortSignal.timeout(options.startTimeoutMilliseconds ?? 30_000)]);
      await new Promise<void>((resolve, reject) => {
        timeout.addEventListener("abort", () =>
          reject(new DatabaseUnreachableError(`no change stream in time: ${trouble}`)),
        );
        running = supervise(resolve, (error) => reject(startFailure(error)));
      });
    },
    stop: once(async () => {
      stopping.abort();
      await running;
    }),
  };
}

function pipelineOf(options: WatcherOptions): Document[] {
  const collections = [...options.collections];
  const match = {
    $match: {
      $or: [
        { "ns.coll": { $in: collections } },
        { "to.coll": { $in: collections } },
        { operationType: { $in: ["dropDatabase", "invalidate"] } },
      ],
    },
  };
  // The split stage has to be the last one.
  return options.database.support.splitEvents ? [match, { $changeStreamSplitLargeEvent: {} }] : [match];
}

function streamOptions(options: WatcherOptions): ChangeStreamOptions {
  return {
    ...decoding,
    maxAwaitTimeMS,
    ...(options.database.support.expandedEvents ? { showExpandedEvents: true } : {}),
    // `required` would end the stream at the first image that is missing or has expired.
    ...(options.database.support.images
      ? { fullDocument: "whenAvailable", fullDocumentBeforeChange: "whenAvailable" }
      : { fullDocument: "updateLookup" }),
  };
}

/** Counts the events that share a cluster time, and remembers how far the stream has come. */
function createPositions(tagOf: () => string): {
  of(event: ChangeStreamDocument): string;
  idle(token: unknown): string;
  readonly head: string | undefined;
} {
  let head: string | undefined;
  let seconds = 0;
  let increment = 0;
  let ordinal: number = ordinals.before;
  return {
    of(event) {
      const time = event.clusterTime === undefined ? { seconds, increment } : timeOf(event.clusterTime);
      ordinal = time.seconds === seconds && time.increment === increment ? ordinal + 1 : 1;
      ({ seconds, increment } = time);
      head = formatPosition({ seconds, increment, ordinal, tag: tagOf() });
      return head;
    },
    idle(token) {
      const time = timeOfToken(token);
      const idle = time === undefined ? undefined : formatPosition({ ...time, ordinal: ordinals.before, tag: tagOf() });
      if (idle !== undefined && (head === undefined || idle > head)) head = idle;
      return head ?? formatPosition({ seconds, increment, ordinal, tag: tagOf() });
    },
    get head() {
      return head;
    },
  };
}

function startFailure(error: unknown): Error {
  const { code, message } = error as { code?: unknown; message?: string };
  if (code === changeStreamsNeedAReplicaSet) return notAReplicaSet();
  return new TailgateError("stream-failed", `the change stream can't be opened: ${message}`, { cause: error });
}

function turnOfTheEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
