import { type Db, type MongoClient, Timestamp } from "mongodb";
import type { Database } from "../database.js";
import type { Logger } from "../log.js";
import { parsePosition } from "../position.js";
import { sleep, unlessAborted } from "../retry.js";
import { once, type Service } from "../service.js";
import { timeOf } from "./change.js";
import { recoveryFrom } from "./failure.js";

const intervalMilliseconds = 15_000;
/** A server that takes long to answer is asked more seldom: SecantusDB reads its whole oplog for it. */
const pausePerAnswer = 30;

export interface OplogGauge extends Service {
  /** Seconds of history between the oldest entry of the oplog and the stream's place, or undefined where unknown. */
  readonly headroomSeconds: number | undefined;
}

/**
 * Looks now and then how far the stream is from the end of the oplog that is overwritten next: at zero its place is gone
 * and every view has to be reset. The oplog is in the database `local`, which takes a privilege that nothing else here needs.
 *
 * @param head - the stream's place
 */
export function createOplogGauge(options: {
  client: MongoClient;
  head: () => string | undefined;
  log: Logger;
}): OplogGauge {
  const stopping = new AbortController();
  let oldestSeconds: number | undefined;
  let running: Promise<void> | undefined;

  async function look(): Promise<void> {
    let pause = 0;
    while (await sleep(pause, stopping.signal)) {
      const began = performance.now();
      try {
        const oldest = await unlessAborted(readOldest(options.client), stopping.signal);
        oldestSeconds = oldest === undefined ? undefined : timeOf(oldest).seconds;
      } catch (error) {
        // Not allowed to read it, or away: the figure is then left out, and `doctor` tells what privilege it takes.
        options.log.debug({ err: error }, "oplog not read");
        oldestSeconds = undefined;
      }
      pause = Math.max(intervalMilliseconds, pausePerAnswer * (performance.now() - began));
    }
  }

  return {
    name: "oplog gauge",
    get headroomSeconds() {
      const place = parsePosition(options.head() ?? "");
      return place === undefined || oldestSeconds === undefined ? undefined : place.seconds - oldestSeconds;
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

/**
 * Whether everything since a time can still be had. Where the oplog may not be read there is no telling, and no harm is assumed.
 *
 * @returns the time of the oplog's first entry if that is later than the time given, else undefined
 * @throws the driver's error where the connection broke
 */
export async function firstEntryAfter(
  { client, db, support }: Database,
  time: Timestamp,
): Promise<Timestamp | undefined> {
  try {
    // SecantusDB reads its whole oplog to name the first entry, which takes it seconds.
    if (!support.isMongodb && (await hasChangeUntil(db, time))) return undefined;
    const oldest = await readOldest(client);
    return oldest?.greaterThan(time) ? oldest : undefined;
  } catch (error) {
    if (recoveryFrom(error) === "resume") throw error;
    // Reading the oplog takes a privilege that a gateway need not have.
    return undefined;
  }
}

/**
 * Only for servers that begin with what they have when asked for a time that they have lost; MongoDB's own refuses.
 *
 * @returns whether the oplog has a change of the database from that time or before
 */
async function hasChangeUntil(db: Db, time: Timestamp): Promise<boolean> {
  const stream = db.watch([{ $project: { clusterTime: 1 } }], {
    startAtOperationTime: new Timestamp({ t: 1, i: 1 }),
    batchSize: 1,
    maxAwaitTimeMS: 100,
  });
  try {
    const first = (await stream.tryNext()) as { clusterTime?: Timestamp } | null;
    return first?.clusterTime?.lessThanOrEqual(time) ?? false;
  } finally {
    await stream.close();
  }
}

async function readOldest(client: MongoClient): Promise<Timestamp | undefined> {
  const oplog = client.db("local").collection<{ ts: Timestamp }>("oplog.rs");
  const oldest = await oplog.findOne({}, { sort: { $natural: 1 }, projection: { ts: 1 }, maxTimeMS: 5_000 });
  return oldest?.ts;
}
