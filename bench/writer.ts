/** The writer: a process of its own that changes documents at a steady pace through the driver. */
import { setTimeout as delay } from "node:timers/promises";
import { type Db, MongoClient, type Timestamp } from "mongodb";
import { createItems, type Users } from "./items.js";
import { answer } from "./rpc.js";

export type Operation = "insert" | "update";

export interface WriteOptions {
  operation: Operation;
  changes: number;
  /** Changes in one command. */
  together: number;
  /** Undefined: as fast as the database takes them. */
  perSecond?: number | undefined;
  /** Waits up to so much longer before each write, at random, so that writes do not fall in step with anything. */
  jitterMilliseconds?: number | undefined;
  /** Stops after so long, though not all is written. */
  limitSeconds?: number | undefined;
}

export interface Written {
  changes: number;
  seconds: number;
  /** How far the last write was behind its time: more than a fraction of a second means that the machine is too slow. */
  lateSeconds: number;
}

/** Updates go round so many documents of each user where there are few, and else so many in all. */
const documentsPerUser = 2;
const mostDocuments = 1_000;

let items = createItems();
let isStopped = false;
let client: MongoClient | undefined;
let db: Db | undefined;

export interface PrepareOptions {
  operation: Operation;
  users?: Users | undefined;
  /** Before and after images, which updates have in any case. */
  images?: boolean | undefined;
}

export const methods = {
  /** Creates the collection `items`, for updates with documents to update. */
  async prepare({ uri, operation, users, images }: PrepareOptions & { uri: string }): Promise<void> {
    client = await new MongoClient(uri, { serverSelectionTimeoutMS: 5_000 }).connect();
    db = client.db();
    const isUpdate = operation === "update";
    const documents = Math.min(mostDocuments, (users?.count ?? mostDocuments) * documentsPerUser);
    items = createItems(users, documents);
    const enabled = isUpdate || images === true;
    await db.createCollection("items", enabled ? { changeStreamPreAndPostImages: { enabled } } : {});
    if (isUpdate) await db.collection("items").insertMany(items.updatable);
  },

  /** @returns the cluster's time: everything that is written from now on comes after it */
  async clusterTime(): Promise<{ seconds: number; increment: number }> {
    if (db === undefined) throw new Error("the writer was not prepared");
    const { operationTime } = await db.command({ hello: 1 });
    const { high, low } = operationTime as Timestamp;
    return { seconds: high >>> 0, increment: low >>> 0 };
  },

  async write(options: WriteOptions): Promise<Written> {
    const began = performance.now();
    const pause = options.perSecond === undefined ? 0 : (1000 * options.together) / options.perSecond;
    let due = began;
    const end = began + (options.limitSeconds ?? Number.POSITIVE_INFINITY) * 1000;
    let written = 0;
    isStopped = false;
    while (written < options.changes && performance.now() < end && !isStopped) {
      await waitUntil(due);
      const count = Math.min(options.together, options.changes - written);
      await writeTogether(count, options.operation);
      written += count;
      due += pause + Math.random() * (options.jitterMilliseconds ?? 0);
    }
    await waitUntil(due);
    const now = performance.now();
    const lateSeconds = pause === 0 ? 0 : Math.max(0, now - due) / 1000;
    return { changes: written, seconds: (now - began) / 1000, lateSeconds };
  },

  /** Ends the `write` that is under way. */
  stop(): void {
    isStopped = true;
  },

  /** Removes the database, which was made for this turn alone. */
  async drop(): Promise<void> {
    await db?.dropDatabase();
    await client?.close();
  },
};

async function writeTogether(count: number, operation: Operation): Promise<void> {
  if (db === undefined) throw new Error("the writer was not prepared");
  const collection = db.collection("items");
  if (operation === "update") await collection.bulkWrite(Array.from({ length: count }, items.nextUpdate));
  else if (count === 1) await collection.insertOne(items.next());
  else await collection.insertMany(Array.from({ length: count }, items.next));
}

/** Waits on the monotonic clock. When the time is past it does not wait at all, and so catches up. */
async function waitUntil(time: number): Promise<void> {
  const left = time - performance.now();
  if (left > 0.5) await delay(left);
}

answer(methods);
