import type { ResumeToken } from "mongodb";
import type { Database } from "../database.js";
import type { RawEvent } from "./raw-event.js";
import type { RawBatch } from "./stream.js";

/** How long an idle token has to have been there before it is relied on, where the server is not MongoDB. */
const proofMilliseconds = 3_000;

/** The token to reopen the stream with. */
export interface ResumePoint {
  /** Undefined before the first batch, and after `forget`. */
  readonly token: ResumeToken | undefined;
  /**
   * A batch has been dispatched.
   *
   * @param lastWhole - the last event that was complete
   * @param isIncomplete - whether a fragment of a split event is the last that came
   */
  passed(batch: RawBatch, lastWhole: RawEvent | undefined, isIncomplete: boolean): void;
  forget(): void;
}

/**
 * Idle tokens count, or a quiet stream's place would fall off the oplog. On MongoDB they are true. Those of SecantusDB were
 * seen ahead of events that came after them: such a token is taken only when nothing has come for a while since.
 */
export function createResumePoint(database: Pick<Database, "support">): ResumePoint {
  let token: ResumeToken | undefined;
  let candidate: { token: ResumeToken; since: number } | undefined;

  function proven(idle: ResumeToken | undefined): void {
    const now = performance.now();
    if (candidate !== undefined && now - candidate.since < proofMilliseconds) return;
    token = candidate?.token ?? token;
    candidate = idle === undefined ? undefined : { token: idle, since: now };
  }

  return {
    get token() {
      return token;
    },
    passed(batch, lastWhole, isIncomplete) {
      const trusted = database.support.isMongodb ? batch.token : undefined;
      // Between the fragments of an event there is no place to resume from; after the last whole event there is.
      if (isIncomplete) token = lastWhole?.token ?? token;
      else token = trusted ?? lastWhole?.token ?? token;
      if (batch.events.length > 0) candidate = undefined;
      else if (!database.support.isMongodb) proven(batch.token);
    },
    forget() {
      token = undefined;
      candidate = undefined;
    },
  };
}
