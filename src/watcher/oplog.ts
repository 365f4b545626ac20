import type { MongoClient, Timestamp } from "mongodb";
import type { Logger } from "../log.js";
import { parsePosition } from "../position.js";
import { sleep, unlessAborted } from "../retry.js";
import { once, type Service } from "../service.js";
import { timeOf } from "./change.js";
import { recoveryFrom } from "./failure.js";

const intervalMilliseconds = 15_000;
/** SecantusDB reads its whole oplog for an answer, and lets nobody else in meanwhile: it is asked the more seldom. */
const intervalPerAnswer = 300;

export interface Oplog extends Service {
  /**
   * Whether everything since a time can still be had. Where the oplog may not be read there is no telling, and no harm is
   * assumed.
   *
   * @returns the time of the first entry if that is later than the time given, else undefined
   * @throws the driver's error where the connection broke
   */
  beginsAfter(time: Timestamp): Promise<Timestamp | undefined>;
  /**
   * @param head - the place of a stream
   * @returns the seconds of history between the first entry and that place, or undefined where unknown
   */
  headroomSeconds(head: string | undefined): number | undefined;
}

/**
 * Where the oplog begins, which is what is overwritten next: a stream whose place is before that can't go on. Once started
 * it looks now and then how near that is. The oplog is in the database `local`, which takes a privilege that nothing else
 * here needs.
 */
export function createOplog({ client, log }: { client: MongoClient; log: Logger }): Oplog {
  const stopping = new AbortController();
  let firstSeconds: number | undefined;
  let askAgainAt = 0;
  let running: Promise<void> | undefined;

  async function askForFirst(): Promise<Timestamp | undefined> {
    const askedAt = performance.now();
    try {
      const oplog = client.db("local").collection<{ ts: Timestamp }>("oplog.rs");
      const first = await oplog.findOne({}, { sort: { $natural: 1 }, projection: { ts: 1 }, maxTimeMS: 5_000 });
      firstSeconds = first === null ? undefined : timeOf(first.ts).seconds;
      return first?.ts;
    } finally {
      const now = performance.now();
      askAgainAt = now + Math.max(intervalMilliseconds, intervalPerAnswer * (now - askedAt));
    }
  }

  async function look(): Promise<void> {
    while (await sleep(Math.max(0, askAgainAt - performance.now()), stopping.signal)) {
      try {
        await unlessAborted(askForFirst(), stopping.signal);
      } catch (error) {
        // Not allowed to read it, or away: the figure is then left out, and `doctor` tells what privilege it takes.
        log.debug({ err: error }, "oplog not read");
        firstSeconds = undefined;
      }
    }
  }

  return {
    name: "oplog",
    async beginsAfter(time) {
      try {
        const first = await askForFirst();
        return first?.greaterThan(time) ? first : undefined;
      } catch (error) {
        if (recoveryFrom(error) === "resume") throw error;
        // Reading it takes a privilege that a gateway need not have.
        return undefined;
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
