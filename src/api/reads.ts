import {
  type Db,
  type FindOptions,
  MongoNetworkError,
  MongoNotConnectedError,
  MongoServerError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
} from "mongodb";
import { decoding } from "../database.js";
import { isSystemError, RequestError } from "../errors.js";
import { createTurns } from "../turns.js";

export type ReadOptions = FindOptions & { readonly signal: AbortSignal };

export interface ReadLimits {
  /** How long the database may work for one request, in milliseconds. */
  readonly milliseconds: number;
  /** Requests that read at the same time. */
  readonly atOnce: number;
  /** Requests that wait for their turn to read. */
  readonly waiting: number;
  /** Bytes of answers that clients have not taken yet, of all requests together. */
  readonly unsentBytes: number;
}

export const defaultReadLimits: ReadLimits = {
  milliseconds: 10_000,
  atOnce: 64,
  waiting: 256,
  unsentBytes: 256_000_000,
};

/** What the network may add to the time that the database has, in milliseconds. */
const networkAllowance = 3_000;

export interface Reads {
  /**
   * Reads for one request, in its turn.
   *
   * @param signal - aborted when the client has gone
   * @param work - gets the options for each `find`: what is left of the time limit is in them
   * @throws RequestError 504 `query-too-slow`, 503 `database-unavailable` or `too-busy`, 400 `sort-too-large` or `bad-sort`
   */
  run<Result>(signal: AbortSignal, work: (options: () => ReadOptions) => Promise<Result>): Promise<Result>;
  /**
   * Counts an answer until it has left.
   *
   * @returns a function that ends the count
   */
  holdUnsent(bytes: number): () => void;
}

/** Everything that keeps reads by the API from costing more than they may. */
export function createReads(db: Db, limits: ReadLimits = defaultReadLimits): Reads {
  const turns = createTurns(limits.atOnce, limits.waiting);
  const isReachable = watchTopology(db);
  let unsentBytes = 0;

  async function limited<Result>(
    gone: AbortSignal,
    work: (options: () => ReadOptions) => Promise<Result>,
  ): Promise<Result> {
    if (!isReachable()) throw unavailable();
    const late = AbortSignal.timeout(limits.milliseconds + networkAllowance);
    const signal = AbortSignal.any([gone, late]);
    const deadline = performance.now() + limits.milliseconds;
    const options = (): ReadOptions => {
      const maxTimeMS = Math.floor(deadline - performance.now());
      if (maxTimeMS < 1) throw tooSlow();
      return { ...decoding, ...alike, maxTimeMS, signal };
    };
    try {
      return await work(options);
    } catch (error) {
      if (gone.aborted) throw clientGone();
      if (late.aborted) throw unavailable(error);
      throw requestErrorOf(error);
    }
  }

  return {
    async run(signal, work) {
      if (unsentBytes > limits.unsentBytes) throw tooBusy();
      const endTurn = await turns.take(signal);
      if (endTurn === "full") throw tooBusy();
      if (endTurn === "aborted") throw clientGone();
      try {
        return await limited(signal, work);
      } finally {
        endTurn();
      }
    },
    holdUnsent(bytes) {
      unsentBytes += bytes;
      let held = true;
      return () => {
        if (held) unsentBytes -= bytes;
        held = false;
      };
    },
  };
}

const alike = {
  readConcern: { level: "majority" },
  allowDiskUse: false,
  // Filters are matched without a collation on the stream, and cursors are compared without one.
  collation: { locale: "simple" },
} as const;

/**
 * With no server in sight the driver would hold each read for as long as it looks for one. Its own monitors know sooner.
 * An election is no such case: its members answer, and reads wait for the new primary.
 */
function watchTopology(db: Db): () => boolean {
  let reachable = true;
  db.client.on("topologyDescriptionChanged", ({ newDescription }) => {
    reachable = [...newDescription.servers.values()].some(({ type }) => type !== "Unknown");
  });
  return () => reachable;
}

const timeLimitCodes = new Set([50, 262]);
const unavailableCodes = new Set([6, 7, 89, 91, 189, 9001, 10058, 10107, 11600, 11602, 13435, 13436, 134]);
const sortMemoryCode = 292;
const badValueCode = 2;

function requestErrorOf(error: unknown): unknown {
  if (
    error instanceof MongoNetworkError ||
    error instanceof MongoServerSelectionError ||
    error instanceof MongoTopologyClosedError ||
    error instanceof MongoNotConnectedError
  ) {
    return unavailable(error);
  }
  // The driver lets some failures of the network out as plain system errors, such as an `EPIPE`.
  if (isSystemError(error)) return unavailable(error);
  if (!(error instanceof MongoServerError)) return error;
  const code = Number(error.code);
  if (timeLimitCodes.has(code)) return tooSlow(error);
  if (unavailableCodes.has(code)) return unavailable(error);
  if (code === sortMemoryCode) {
    return new RequestError(
      400,
      "sort-too-large",
      "there are too many rows to sort without an index: filter more, or have an index made on the sort's keys and _id",
      {},
      { cause: error },
    );
  }
  if (code === badValueCode) {
    // The filter has been checked, so it is the sort: two of its keys go through different arrays of one document.
    return new RequestError(400, "bad-sort", "documents can't be sorted by two arrays at once", {}, { cause: error });
  }
  return error;
}

function tooSlow(cause?: unknown): RequestError {
  return new RequestError(
    504,
    "query-too-slow",
    "the database took too long to answer: filter more, or have an index made that serves filter and sort",
    {},
    { cause },
  );
}

function unavailable(cause?: unknown): RequestError {
  return new RequestError(503, "database-unavailable", "the database can't be reached now", {}, { cause });
}

function tooBusy(): RequestError {
  return new RequestError(503, "too-busy", "too many requests are reading at the same time");
}

/** Nobody is there to read it; it keeps the request out of the log of failures. */
function clientGone(): RequestError {
  return new RequestError(400, "client-gone", "the client went away");
}
