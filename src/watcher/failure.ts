import { MongoError, MongoNetworkError, MongoServerError, MongoServerSelectionError, type Timestamp } from "mongodb";
import { isSystemError } from "../errors.js";
import { formatPosition, ordinals } from "../position.js";
import { timeOf } from "./change.js";
import { LookUpError } from "./look-up.js";
import { SilentStreamError, StreamEndedError } from "./stream.js";

/**
 * What a failed stream calls for:
 *
 * - `resume`: reopen from the last token;
 * - `shrink`: the same, with smaller batches, for the server ran out of time collecting one;
 * - `new-epoch`: the history between the last token and now can't be had: reset every view, reopen at the current time;
 * - `wait`: something that time alone may not mend, such as a missing privilege: log it, be not ready, retry slowly.
 */
export type Recovery = "resume" | "shrink" | "new-epoch" | "wait";

/** The oplog begins after the place that was asked for. */
export class HistoryLostError extends Error {
  readonly code = "history-lost";
  /** The position of its first entry, without a tag. */
  readonly oldest: string;

  constructor(first: Timestamp) {
    super("the oplog no longer reaches back to where the stream was to go on");
    this.oldest = formatPosition({ ...timeOf(first), ordinal: ordinals.before, tag: "" });
    this.name = "HistoryLostError";
  }
}

/** The stream was another database's: whatever it stood at says nothing of this one. */
export class DatabaseReplacedError extends Error {
  readonly code = "database-replaced";

  constructor() {
    super("there is another database in the place of the one that was followed");
    this.name = "DatabaseReplacedError";
  }
}

const cursorNotFound = 43;
const timeCodes = new Set([50 /* MaxTimeMSExpired */, 262 /* ExceededTimeLimit */]);

/** InvalidResumeToken, ChangeStreamFatalError and ChangeStreamHistoryLost: the token can't be resumed from. */
const refusedTokenCodes = new Set([260, 280, 286]);
/** The next event can't be sent at all, so resuming would meet it again. */
const bsonObjectTooLarge = 10334;

/**
 * Decides by class, code and label, never by the text. The rules for servers are those of the drivers' change streams
 * specification; network failures go beyond them, for the driver lets some out as plain system errors: a socket that
 * broke under a write throws an `EPIPE` without a label.
 */
export function recoveryFrom(error: unknown): Recovery {
  if (error instanceof SilentStreamError) return "shrink";
  if (error instanceof StreamEndedError) return "resume";
  if (error instanceof HistoryLostError || error instanceof DatabaseReplacedError) return "new-epoch";
  if (error instanceof LookUpError) return recoveryFromRead(error.cause);
  if (error instanceof MongoServerError) {
    const code = Number(error.code);
    if (refusedTokenCodes.has(code) || code === bsonObjectTooLarge) return "new-epoch";
    if (timeCodes.has(code)) return "shrink";
    if (code === cursorNotFound || error.hasErrorLabel("ResumableChangeStreamError")) return "resume";
    return "wait";
  }
  if (error instanceof MongoNetworkError || error instanceof MongoServerSelectionError) return "resume";
  // The rest of the driver's errors (a closed pool, an expired session, a cursor in use) come of the connection's loss.
  if (error instanceof MongoError) return "resume";
  return isSystemError(error) ? "resume" : "wait";
}

/** @returns whether it is the token that can't be resumed from: another place may do */
export function isTokenRefused(error: unknown): boolean {
  return error instanceof MongoServerError && refusedTokenCodes.has(Number(error.code));
}

/** Errors of a read carry no label for change streams; those that a driver retries a read after say that a member changed its role. */
const retryableReadCodes = new Set([6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436]);

/** @returns what the failure of a read beside the stream calls for */
export function recoveryFromRead(cause: unknown): Recovery {
  const code = cause instanceof MongoServerError ? Number(cause.code) : undefined;
  if (code === undefined) return recoveryFrom(cause);
  // The history is not concerned, whatever went wrong with a read.
  return retryableReadCodes.has(code) ? "resume" : "wait";
}
