import { Timestamp } from "mongodb";
import type { Database } from "../database.js";
import { ordinals, type Position, parsePosition } from "../position.js";
import type { Bookmarks, Mark } from "./bookmarks.js";
import { changeOf, type StreamEvent, timeOf } from "./change.js";
import { HistoryLostError, isTokenRefused } from "./failure.js";
import { createAssembler } from "./fragments.js";
import { lookUp, updatesToLookUp } from "./look-up.js";
import type { Oplog } from "./oplog.js";
import { createPositions, isBefore } from "./positions.js";
import type { RawEvent } from "./raw-event.js";
import { normalSilenceMilliseconds, optionsOf, pipelineOf, readBatches } from "./stream.js";

const batchSize = 1_000;

/** Events of the past, and the place up to which everything has been yielded. */
export interface PastBatch {
  readonly events: readonly StreamEvent[];
  readonly head: string;
}

/** Reads again, from a position on, what the change stream has carried; at its end it goes on with what comes. */
export type ReadPast = (position: string, options: ReadOptions) => AsyncIterable<PastBatch>;

interface ReadOptions {
  readonly signal: AbortSignal;
  /** How many times longer than usual the server may be silent: it may have to pass over much that is none of ours. */
  readonly patience: number;
}

/**
 * A change stream of its own for as long as somebody needs it, with the same pipeline and the same positions as the
 * watcher's. It begins at the position's time, with all events of that time, or after a bookmark from before it, and leaves out
 * those that the position counts.
 *
 * @param options.bookmarks - places that the watcher has passed
 * @param options.undecodable - told of events that can't be read
 * @returns a function whose iterations throw HistoryLostError, and the driver's errors as they are
 */
export function createPast(options: {
  database: Database;
  collections: ReadonlySet<string>;
  oplog: Pick<Oplog, "firstEntry">;
  bookmarks: Bookmarks;
  undecodable: (error: Error) => void;
}): ReadPast {
  const { database, collections, oplog, bookmarks, undecodable } = options;

  /**
   * @param refusal - the server's, of a place before that
   * @throws HistoryLostError where the oplog begins later; the refusal where it may not be read
   */
  async function checkThatOplogReachesBackTo(place: Position, refusal: unknown): Promise<void> {
    const first = await oplog.firstEntry();
    if (first === undefined && refusal !== undefined) throw refusal;
    if (first === undefined) return;
    const { seconds, increment } = timeOf(first);
    // Of several events at the very first time some may be gone already.
    const isOfThatTime = seconds === place.seconds && increment === place.increment;
    if (isOfThatTime ? place.ordinal === ordinals.before : isBefore({ seconds, increment, ordinal: 0 }, place)) return;
    throw new HistoryLostError(first);
  }

  /**
   * @param from - a place of the past
   * @param mark - where the stream is to begin instead of at the time of that place
   * @param refusal - the server's, of a place before that
   */
  async function* read(
    from: Position,
    mark: Mark | undefined,
    options: ReadOptions,
    refusal?: unknown,
  ): AsyncGenerator<PastBatch> {
    const at = new Timestamp({ t: from.seconds, i: from.increment });
    const positions = createPositions(database);
    const isAmongThem = mark?.place.seconds === from.seconds && mark.place.increment === from.increment;
    positions.begin(from, from.ordinal, isAmongThem ? from.ordinal - mark.place.ordinal : from.ordinal);
    const assemble = createAssembler();
    const batches = readBatches(database.db, pipelineOf(collections, database.support), {
      stream: {
        ...optionsOf(database.support),
        ...(mark === undefined ? { startAtOperationTime: at } : { startAfter: mark.token }),
        batchSize,
      },
      silenceMilliseconds: options.patience * normalSilenceMilliseconds,
      signal: options.signal,
      undecodable,
    });
    // First there is what was before the place: beyond a mark, or, where a transaction's time is older than its place, beyond a time.
    let isReached = isAmongThem;
    // Every server refuses to open a stream at a token that it has lost. At a time MongoDB's own does so, others begin with what
    // they have. (A stream that is open and overtaken by what is overwritten is refused by MongoDB's own only.)
    let isWhole = mark !== undefined || database.support.isMongodb;
    for await (const batch of batches) {
      // Not before the stream is open: what it begins with could be overwritten in between.
      if (!isWhole) await checkThatOplogReachesBackTo(from, refusal);
      isWhole = true;
      const events: StreamEvent[] = [];
      let lastWhole: RawEvent | undefined;
      for (const fragment of batch.events) {
        const event = assemble.add(fragment);
        if (event === undefined) continue;
        lastWhole = event;
        isReached ||= !isEarlier(event, from);
        const place = isReached ? positions.of(event) : undefined;
        const translated = place === undefined ? undefined : changeOf(event, place);
        if (translated !== undefined) events.push(translated);
      }
      const missing = updatesToLookUp(events);
      if (missing.size > 0) await lookUp(database, missing, lastWhole?.clusterTime);
      yield { events, head: positions.idle(batch) };
    }
  }

  return async function* (position, options) {
    const from = parsePosition(position);
    if (from === undefined) throw new TypeError(`no position: ${position}`);
    const mark = bookmarks.before(from);
    let isOpen = false;
    try {
      for await (const batch of read(from, mark, options)) {
        isOpen = true;
        yield batch;
      }
    } catch (error) {
      if (isOpen || !isTokenRefused(error)) throw error;
      // The refusal of a time does not say where the oplog begins, which serves those who were away for less long.
      if (mark === undefined) {
        await checkThatOplogReachesBackTo(from, error);
        throw error;
      }
      bookmarks.forget(mark);
      yield* read(from, undefined, options, error);
    }
  };
}

function isEarlier({ seconds, increment }: RawEvent, place: Position): boolean {
  if (seconds === undefined) return false;
  return seconds !== place.seconds ? seconds < place.seconds : increment < place.increment;
}
