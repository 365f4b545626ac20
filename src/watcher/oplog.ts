import type { MongoClient, Timestamp } from "mongodb";
import type { Logger } from "../log.js";
import { parsePosition } from "../position.js";
import { sleep, unlessAborted } from "../retry.js";
import { once, type Service } from "../service.js";
import { timeOf } from "./change.js";

const intervalMilliseconds = 15_000;

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
    do {
      try {
        const oldest = await unlessAborted(readOldest(options.client), stopping.signal);
        oldestSeconds = oldest === undefined ? undefined : timeOf(oldest).seconds;
      } catch (error) {
        // Not allowed to read it, or away: the figure is then left out, and `doctor` tells what privilege it takes.
        options.log.debug({ err: error }, "oplog not read");
        oldestSeconds = undefined;
      }
    } while (await sleep(intervalMilliseconds, stopping.signal));
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

/** @returns the time of the oldest entry of the oplog, or undefined where it can't be read */
export async function oldestEntry(client: MongoClient): Promise<Timestamp | undefined> {
  try {
    return await readOldest(client);
  } catch {
    // Reading it takes a privilege that a gateway need not have.
    return undefined;
  }
}

async function readOldest(client: MongoClient): Promise<Timestamp | undefined> {
  const oplog = client.db("local").collection<{ ts: Timestamp }>("oplog.rs");
  const oldest = await oplog.findOne({}, { sort: { $natural: 1 }, projection: { ts: 1 }, maxTimeMS: 5_000 });
  return oldest?.ts;
}
