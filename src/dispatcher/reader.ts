import { type ClientSession, type Document, Timestamp } from "mongodb";
import type { SnapshotSettings } from "../config/settings.js";
import { type Database, decodeDocument, decoding, isUnauthorized } from "../database.js";
import type { MatchOptions } from "../filter/compile.js";
import type { Filter } from "../filter/parse.js";
import type { Logger } from "../log.js";
import { formatPosition, ordinals, type Position, parsePosition, timeOfPosition } from "../position.js";
import { turnOfTheEventLoop, unlessAborted } from "../retry.js";
import { createTurns, type Turns } from "../turns.js";
import { timeOf } from "../watcher/change.js";
import type { Representation } from "./representation.js";

/** How long the database may work for one batch of a snapshot, in milliseconds. */
const snapshotMilliseconds = 60_000;
/** Documents in a batch: large documents come in smaller ones, for the server sends 16 MB at most. */
const batchSize = 500;
/**
 * Commands that are under way at the same time. The driver's pool has a hundred connections, of which the change stream's
 * next batch needs one: behind a crowd of reads it would come too late.
 */
const readsAtOnce = 20;
/** How long what is known of a collection's images is taken for granted; one that is missing is met in any case. */
const imagesMilliseconds = 5_000;
/** How long the database may take to say what time it is, in milliseconds: without it there is nothing to wait for. */
const presentMilliseconds = 2_000;

type ReadConcernLevel = "snapshot" | "majority";

/** Rows, and the place on the stream that they belong to. */
export interface Rows {
  /** Every row is at least as new. */
  readonly cut: string;
  /** Whether no row is newer, either: all are of one moment in time. */
  readonly isExact: boolean;
  /** What a row shows has happened by then: the beginning of a position, its time. To be asked for after the last row. */
  readonly newest: string;
  readonly documents: AsyncIterable<StoredDocument>;
  close(): Promise<void>;
}

/** A document as it was read, with its bytes where a format is written from those. */
export interface StoredDocument {
  readonly document: Document;
  readonly bytes?: Uint8Array;
}

/** What is shown of a collection. */
export interface Selection {
  readonly collection: string;
  readonly filter: Filter | undefined;
  readonly representation: Pick<Representation, "fields" | "format">;
}

/** What a filtered view needs of the database before it can say what a change is to its audience. */
export interface ViewReader {
  /** How the server matches, where that depends on its version. */
  readonly matching: MatchOptions;
  /** Whether the server is known to keep an image of each document before a change. */
  hasImages(collection: string): Promise<boolean>;
  /**
   * The ids of the documents that match, at the head or a little later, and the time (as the beginning of a position) by which
   * they do.
   */
  idsOf(collection: string, filter: Filter, head: string): Promise<{ ids: unknown[]; newest: string }>;
  /**
   * The database's present, as the beginning of a position: what anybody has read before is not later. Undefined where it does not
   * say so soon. Those who ask together get one answer.
   */
  present(): Promise<string | undefined>;
  /** Whether a stream on which nothing comes says how far it has been read. */
  readonly saysItsPlace: boolean;
  /**
   * The documents that match, as far as a representation needs them.
   *
   * @param head - the place up to which everything has been dispatched
   * @param asTheyCome - not at one moment in time, although the server may be able to
   */
  rowsOf(selection: Selection, head: string, asTheyCome?: boolean): Promise<Rows>;
}

/**
 * The cut of a read is the watcher's head when it begins. There are two ways to have one:
 *
 * - exact: where the server can read at a time of one's choice (MongoDB 5 and later), it reads at the head's;
 * - seen: a read that begins after a change was seen includes it, on every server. Rows may be newer than the cut, and a row
 *   that moves in an index under the scan may be missed; the changes since the cut mend both.
 *
 * @param settings.readConcern - "snapshot" or "majority" choose one of them; "auto" goes by what the server is
 */
export function createViewReader(
  database: Pick<Database, "db" | "client" | "support">,
  settings: SnapshotSettings,
  log: Logger,
): ViewReader {
  const { db, client } = database;
  const turns = createTurns(readsAtOnce, 0);
  const images = new Map<string, { known: Promise<boolean>; until: number }>();
  /** Collections that the server does not read so, as it has said. */
  const refused = new Set<string>();

  const isExact = (collection: string): boolean => {
    if (refused.has(collection) || settings.readConcern === "majority") return false;
    return settings.readConcern === "snapshot" || database.support.snapshotReads;
  };

  async function readImages(collection: string): Promise<boolean> {
    try {
      const [found] = await db.listCollections({ name: collection }).toArray();
      const { options } = (found ?? {}) as { options?: Document };
      return options?.changeStreamPreAndPostImages?.enabled === true;
    } catch (error) {
      // Reading takes `find` and `changeStream`. Without `listCollections` images can't be relied on.
      if (isUnauthorized(error)) return false;
      throw error;
    }
  }

  function find({ collection, filter, representation }: Selection, session: ClientSession, level: ReadConcernLevel) {
    const { fields, format } = representation;
    const projection =
      fields === undefined ? {} : { projection: Object.fromEntries(["_id", ...fields].map((path) => [path, 1])) };
    return db.collection(collection).find(filter?.query ?? {}, {
      ...decoding,
      ...projection,
      ...(format === "json" ? {} : { raw: true }),
      session,
      readConcern: { level },
      batchSize,
      maxTimeMS: snapshotMilliseconds,
    });
  }

  /** @returns undefined where the server can't read at that time */
  async function readAt(selection: Selection, head: string): Promise<Rows | undefined> {
    const position = parsePosition(head);
    if (position === undefined) return undefined;
    const session = client.startSession({ snapshot: true });
    // The driver sends it as `atClusterTime`; it would itself set it to the time of a first read.
    (session as { snapshotTime?: Timestamp }).snapshotTime = timestampOf(position);
    const cursor = find(selection, session, "snapshot");
    try {
      await turns.during(() => cursor.hasNext());
    } catch (error) {
      await cursor.close();
      await session.endSession();
      const { code } = error as { code?: unknown };
      if (typeof code !== "number") throw error;
      // For all else, such as a time that is too long ago or an election, another time may do.
      if (refusingCodes.has(code)) refused.add(selection.collection);
      log.warn({ err: error, interface: selection.collection }, "snapshot not read at one moment");
      return undefined;
    }
    const cut = formatPosition({ ...position, ordinal: ordinals.after });
    const rows = { cut, isExact: true, newest: timeOfPosition(head), documents: storedIn(cursor, turns) };
    return { ...rows, close: () => closing(cursor, session) };
  }

  async function readSeen(selection: Selection, head: string): Promise<Rows> {
    // On a secondary, or after a failover, a member that is behind must not answer.
    const session = client.startSession({ causalConsistency: true });
    const position = parsePosition(head);
    if (position !== undefined) session.advanceOperationTime(timestampOf(position));
    const cursor = find(selection, session, "majority");
    return {
      cut: head,
      isExact: false,
      documents: storedIn(cursor, turns),
      get newest() {
        const { operationTime } = session;
        return operationTime === undefined ? timeOfPosition(head) : timeOfPosition(positionAt(operationTime));
      },
      close: () => closing(cursor, session),
    };
  }

  async function rowsOf(selection: Selection, head: string, asTheyCome = false): Promise<Rows> {
    const isAtOnce = !asTheyCome && isExact(selection.collection);
    return (isAtOnce ? await readAt(selection, head) : undefined) ?? readSeen(selection, head);
  }

  let asking: Promise<string | undefined> | undefined;
  async function askPresent(): Promise<string | undefined> {
    // What is asked for in this turn of the event loop is asked for once.
    await turnOfTheEventLoop();
    asking = undefined;
    try {
      const { operationTime } = await unlessAborted(db.command({ hello: 1 }), AbortSignal.timeout(presentMilliseconds));
      return operationTime === undefined ? undefined : timeOfPosition(positionAt(operationTime as Timestamp));
    } catch (error) {
      log.debug({ err: error }, "the database's time not read");
      return undefined;
    }
  }

  return {
    present() {
      asking ??= askPresent();
      return asking;
    },
    get saysItsPlace() {
      return database.support.isMongodb;
    },
    // Asked for when the server's version is known.
    get matching() {
      return database.support;
    },
    hasImages(collection) {
      if (!database.support.images) return Promise.resolve(false);
      const found = images.get(collection);
      if (found !== undefined && found.until > performance.now()) return found.known;
      const known = turns.during(() => readImages(collection));
      images.set(collection, { known, until: performance.now() + imagesMilliseconds });
      known.catch(() => images.delete(collection));
      return known;
    },
    async idsOf(collection, filter, head) {
      const representation = { fields: [], format: "json" } as const;
      const rows = await rowsOf({ collection, filter, representation }, head);
      try {
        const ids: unknown[] = [];
        for await (const { document } of rows.documents) ids.push(document._id);
        return { ids, newest: rows.newest };
      } finally {
        await rows.close();
      }
    },
    rowsOf,
  };
}

/** FailedToParse, IllegalOperation, InvalidOptions, CommandNotSupported, NotAReplicaSet, NotImplemented, an unknown field. */
const refusingCodes = new Set([9, 20, 72, 115, 123, 238, 40415]);
/** SnapshotTooOld, SnapshotUnavailable. */
const tooOldCodes = new Set([239, 246]);

/** @returns whether rows can't be read on at one moment in time, because the server no longer has that moment */
export function isTooOld(error: unknown): boolean {
  return tooOldCodes.has(Number((error as { code?: unknown } | undefined)?.code));
}

/** The part of a cursor that is used: a batch at a time. */
interface BatchCursor {
  hasNext(): Promise<boolean>;
  /** With the option `raw` the driver hands out bytes, whatever its types say. */
  readBufferedDocuments(): (Document | Uint8Array)[];
}

/** Each batch takes a turn; whoever takes the documents may take their time. */
async function* storedIn(cursor: BatchCursor, turns: Turns): AsyncGenerator<StoredDocument, void, void> {
  while (await turns.during(() => cursor.hasNext())) {
    for (const read of cursor.readBufferedDocuments()) {
      yield read instanceof Uint8Array ? { document: decodeDocument(read), bytes: read } : { document: read };
    }
  }
}

async function closing(cursor: { close(): Promise<void> }, session: ClientSession): Promise<void> {
  await cursor.close();
  await session.endSession();
}

function positionAt(time: Timestamp): string {
  return formatPosition({ ...timeOf(time), ordinal: ordinals.before, tag: "" });
}

function timestampOf({ seconds, increment }: Position): Timestamp {
  return new Timestamp({ t: seconds, i: increment });
}
