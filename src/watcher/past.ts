import { Timestamp } from "mongodb";
import type { Database } from "../database.js";
import { formatPosition, ordinals, parsePosition } from "../position.js";
import { changeOf, type StreamEvent, timeOf } from "./change.js";
import { isTokenRefused } from "./failure.js";
import { createAssembler } from "./fragments.js";
import { lookUp, updatesToLookUp } from "./look-up.js";
import { firstEntryAfter } from "./oplog.js";
import { createPositions } from "./positions.js";
import type { RawEvent } from "./raw-event.js";
import { normalSilenceMilliseconds, optionsOf, pipelineOf, readBatches } from "./stream.js";

const batchSize = 1_000;

/** Events of the past, and the place up to which everything has been yielded. */
export interface PastBatch {
  readonly events: readonly StreamEvent[];
  readonly head: string;
}

/** The oplog begins after the place that was asked for. */
export class PastLostError extends Error {
  readonly code = "past-lost";
  /** The position of its first entry. */
  readonly oldest: string;

  constructor(oldest: string) {
    super("the oplog no longer reaches back to where a client was");
    this.oldest = oldest;
    this.name = "PastLostError";
  }
}

/** Reads again, from a position on, what the change stream has carried; at its end it goes on with what comes. */
export type ReadPast = (
  position: string,
  options: {
    readonly signal: AbortSignal;
    /** How many times longer than usual the server may be silent: it may have to pass over much that is none of ours. */
    readonly patience: number;
  },
) => AsyncIterable<PastBatch>;

/**
 * A change stream of its own for as long as somebody needs it, with the same pipeline and the same positions as the
 * watcher's. It begins at the position's time, with all events of that time, and leaves out those that the position
 * counts.
 *
 * @param options.undecodable - told of events that can't be read
 * @returns a function whose iterations throw PastLostError, and the driver's errors as they are
 */
export function createPast(options: {
  database: Database;
  collections: ReadonlySet<string>;
  undecodable: (error: Error) => void;
}): ReadPast {
  const { database, undecodable } = options;

  /** @throws PastLostError where it does not */
  async function checkThatOplogReachesBackTo(time: Timestamp): Promise<void> {
    const oldest = await firstEntryAfter(database, time);
    if (oldest === undefined) return;
    throw new PastLostError(formatPosition({ ...timeOf(oldest), ordinal: ordinals.before, tag: database.tag }));
  }

  return async function* (position, { signal, patience }) {
    const from = parsePosition(position);
    if (from === undefined) throw new TypeError(`no position: ${position}`);
    const at = new Timestamp({ t: from.seconds, i: from.increment });
    const positions = createPositions(database);
    positions.begin(from, from.ordinal);
    const assemble = createAssembler();
    const batches = readBatches(database.db, pipelineOf(options.collections, database.support), {
      stream: { ...optionsOf(database.support), startAtOperationTime: at, batchSize },
      silenceMilliseconds: patience * normalSilenceMilliseconds,
      signal,
      undecodable,
    });
    // MongoDB's own server refuses a time that it has lost; others begin with what they have.
    let isWhole = database.support.isMongodb;
    try {
      for await (const batch of batches) {
        // Not before the stream is open: what it begins with could be overwritten in between.
        if (!isWhole) await checkThatOplogReachesBackTo(at);
        isWhole = true;
        const events: StreamEvent[] = [];
        let lastWhole: RawEvent | undefined;
        for (const fragment of batch.events) {
          const event = assemble.add(fragment);
          lastWhole = event ?? lastWhole;
          const place = event === undefined ? undefined : positions.of(event);
          const translated = event === undefined || place === undefined ? undefined : changeOf(event, place);
          if (translated !== undefined) events.push(translated);
        }
        const missing = updatesToLookUp(events);
        if (missing.size > 0) await lookUp(database, missing, lastWhole?.clusterTime);
        yield { events, head: positions.idle(batch.token) };
      }
    } catch (error) {
      // The refusal does not say where the oplog begins, which serves those who were away for less long.
      if (isTokenRefused(error)) await checkThatOplogReachesBackTo(at);
      throw error;
    }
  };
}
