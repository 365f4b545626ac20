import { type MongoClient, MongoServerError, type Timestamp } from "mongodb";
import { isUnauthorized } from "../database.js";
import type { Logger } from "../log.js";
import { parsePosition } from "../position.js";
import { sleep, unlessAborted } from "../retry.js";
import { once, type Service } from "../service.js";
import { timeOf } from "./change.js";
import { LookUpError } from "./look-up.js";

const intervalMilliseconds = 15_000;
/** SecantusDB reads its whole oplog for an answer, and lets nobody else in meanwhile: it is asked the more seldom. */
const intervalPerAnswer = 100;
const longestInterval = 5 * 60_000;

/** IllegalOperation, CommandNotFound, InvalidNamespace, CommandNotSupported and NotImplemented: a server without such an oplog. */
const unknownCodes = new Set([20, 59, 73, 115, 238]);

export interface Oplog extends Service {
  /**
   * @returns the time of the first entry, which is overwritten next, or undefined where the oplog may not be read
   * @throws LookUpError with the driver's other errors
   */
  firstEntry(): Promise<Timestamp | undefined>;
  /**
   * @param head - the place of a stream
   * @returns the seconds of history between the first entry, when it was last asked for, and that place, or undefined where unknown
   */
  headroomSeconds(head: string | undefined): number | undefined;
}

/**
 * Where the oplog begins: a stream whose place is before that can't go on. Once started it looks now and then. The oplog is in
 * the database `local`, which takes a privilege that nothing else here needs.
 */
export function createOplog({ client, log }: { client: MongoClient; log: Logger }): Oplog {
  const stopping = new AbortController();
  let firstSeconds: number | undefined;
  let askAgainAt = 0;
  let running: Promise<void> | undefined;

  async function ask(): Promise<Timestamp | undefined> {
    const askedAt = performance.now();
    try {
      const oplog = client.db("local").collection<{ ts: Timestamp }>("oplog.rs");
      const first = await oplog.findOne({}, { sort: { $natural: 1 }, projection: { ts: 1 }, maxTimeMS: 5_000 });
      firstSeconds = first === null ? undefined : timeOf(first.ts).seconds;
      return first?.ts;
    } finally {
      const now = performance.now();
      const interval = Math.min(longestInterval, intervalPerAnswer * (now - askedAt));
      askAgainAt = now + Math.max(intervalMilliseconds, interval);
    }
  }

  async function look(): Promise<void> {
    // The start of the watcher may have asked just before.
    while (await sleep(Math.max(0, askAgainAt - performance.now()), stopping.signal)) {
      try {
        await unlessAborted(ask(), stopping.signal);
      } catch (error) {
        // Not allowed to read it, or away: the figure is then left out, and `doctor` tells what privilege it takes.
        log.debug({ err: error }, "oplog not read");
        firstSeconds = undefined;
      }
    }
  }

  return {
    name: "oplog",
    async firstEntry() {
      try {
        return await ask();
      } catch (error) {
        if (isUnauthorized(error) || isUnknownThere(error)) return undefined;
        throw new LookUpError(error);
      }
    },
    headroomSeconds(head) {
      const place = parsePosition(head ?? "");
      return place === undefined || firstSeconds === undefined ? undefined : place.seconds - firstSeconds;
    },
    async start() {
      running = look();
    },
    stop: once(async () => {
      stopping.abort();
      await running;
    }),
  };
}

function isUnknownThere(error: unknown): boolean {
  return error instanceof MongoServerError && unknownCodes.has(Number(error.code));
}
