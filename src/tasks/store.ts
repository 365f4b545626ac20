import { type Collection, type Db, type Document, type Filter, MongoServerError, ObjectId } from "mongodb";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";
import type { TaskProgress } from "./define.js";
import { type TaskDocument, type TaskError, tasksCollection } from "./document.js";

/** How many gateways may begin with one task before it is given up. */
export const maxAttempts = 2;

/** While the database is away each insert takes its time to fail: who has waited this long for a turn has none any more. */
const longestTurnMilliseconds = 10_000;

/**
 * What a gateway shows with every write to a task that it runs: that it is still the one that does. A gateway that was
 * taken for dead finds that its fence matches nothing.
 */
export interface Fence {
  readonly _id: unknown;
  readonly gateway: string;
  readonly attempts: number;
}

export interface ClaimedTask {
  readonly document: TaskDocument;
  readonly fence: Fence;
  /** When the claim was sent, on the monotonic clock: the lease began after it. */
  readonly claimedAt: number;
}

/** What is read of tasks that others run: the rest of such a document may be what this gateway can't even decode. */
export type TaskLease = Pick<TaskDocument, "_id" | "state" | "gateway" | "attempts" | "lease_expires_at">;
const leaseFields = { state: 1, gateway: 1, attempts: 1, lease_expires_at: 1 };

export type TaskEnd = { state: "complete"; result: unknown } | { state: "failed"; error: TaskError };
type LastProgress = { progress: TaskProgress } | undefined;

export type TaskStore = ReturnType<typeof createTaskStore>;

/**
 * Every operation on the `tasks` collection. Each change of a task's state is one atomic update whose filter says what the
 * task has to be for it.
 *
 * @param options.gateway - the id of this instance
 * @param options.queue - how many tasks may be queued
 */
export function createTaskStore(options: {
  db: Db;
  gateway: string;
  leaseMilliseconds: number;
  queue: number;
  /** Whether the server keeps images. */
  images(): boolean;
  log: Logger;
}) {
  const { db, gateway, leaseMilliseconds } = options;
  const tasks = db.collection<TaskDocument>(tasksCollection);
  const leaseEnd = { $add: ["$$NOW", leaseMilliseconds] };
  /** One insert after the other, so that this gateway's clients can't get past the cap together. */
  let lastInsert: Promise<unknown> = Promise.resolve();

  return {
    /**
     * Makes the collection, with images, by which every state of a task is shown: a look-up skips those that pass quickly.
     * Where it may not, tasks run without them.
     */
    async keepImages(): Promise<void> {
      if (!options.images()) return;
      const images = { changeStreamPreAndPostImages: { enabled: true } };
      try {
        const [existing] = await db.listCollections({ name: tasksCollection }).toArray();
        const { options: kept } = (existing ?? {}) as { options?: Document };
        if (existing === undefined) await db.createCollection(tasksCollection, images).catch(ignoreExisting);
        // It takes a lock and a privilege, so it is asked for only where there is something to change.
        else if (kept?.changeStreamPreAndPostImages?.enabled !== true) {
          await db.command({ collMod: tasksCollection, ...images });
        }
      } catch (error) {
        if (!(error instanceof MongoServerError)) throw error;
        options.log.warn({ err: error }, "the tasks collection could not be given its images");
      }
    },

    /** Makes the index that claims and counts use. Where it may not, they read the whole collection. */
    async makeIndex(): Promise<void> {
      try {
        await tasks.createIndex({ state: 1, created_at: 1, _id: 1 });
      } catch (error) {
        if (!(error instanceof MongoServerError)) throw error;
        options.log.warn({ err: error }, "the tasks collection could not be given its index");
      }
    },

    /**
     * @param gone - aborted when nobody waits for it any more: then it is not stored, unless that has begun
     * @throws RequestError 503 `task-queue-full`; `database-unavailable` where those before it take too long
     */
    async insert(document: TaskDocument, gone?: AbortSignal): Promise<void> {
      const latest = performance.now() + longestTurnMilliseconds;
      const inserted = lastInsert.then(async () => {
        if (gone?.aborted) throw new RequestError(400, "client-gone", "the client went away");
        if (performance.now() > latest) {
          throw new RequestError(503, "database-unavailable", "the database can't be reached now");
        }
        const queued = await tasks.countDocuments({ state: "queued" }, { limit: options.queue });
        if (queued >= options.queue) {
          throw new RequestError(
            503,
            "task-queue-full",
            `${options.queue} tasks are waiting already, which is the cap`,
          );
        }
        await tasks.insertOne(document as TaskDocument & { _id: ObjectId });
      });
      lastInsert = inserted.catch(() => undefined);
      await inserted;
    },

    /** Takes the oldest queued task of one of the names. Of several gateways that ask at once, each gets another one. */
    async claim(names: readonly string[]): Promise<ClaimedTask | undefined> {
      const claimedAt = performance.now();
      const document = await tasks.findOneAndUpdate(
        { state: "queued", name: { $in: names } },
        [
          {
            $set: {
              state: "running",
              gateway,
              attempts: { $add: [{ $ifNull: ["$attempts", 0] }, 1] },
              lease_expires_at: leaseEnd,
              started_at: "$$NOW",
              progress: null,
            },
          },
        ],
        { sort: { created_at: 1, _id: 1 }, returnDocument: "after" },
      );
      if (document === null) return undefined;
      return { document, claimedAt, fence: { _id: document._id, gateway, attempts: document.attempts ?? 1 } };
    },

    /** @returns false where the task is not this gateway's any more. */
    async renew(fence: Fence): Promise<boolean> {
      return matched(tasks, fence, [{ $set: { lease_expires_at: leaseEnd } }]);
    },

    async progress(fence: Fence, progress: TaskProgress): Promise<boolean> {
      return matched(tasks, fence, { $set: { progress } });
    },

    async end(fence: Fence, end: TaskEnd, last: LastProgress): Promise<boolean> {
      return matched(tasks, fence, {
        $set: { ...last, ...end, lease_expires_at: null },
        $currentDate: { ended_at: true },
      });
    },

    /** Gives a task back, as if it had not been taken. */
    async release(fence: Fence): Promise<boolean> {
      return matched(tasks, fence, {
        $set: { state: "queued", gateway: null, lease_expires_at: null, started_at: null, progress: null },
        $inc: { attempts: -1 },
      });
    },

    /** @returns the cancelled task, or undefined where the creator has no such task that has not ended. */
    async cancel(id: string, creator: string | null): Promise<TaskDocument | undefined> {
      const cancelled = await tasks.findOneAndUpdate(
        { ...byId(id), user: creator, state: { $in: ["queued", "running"] } } as Filter<TaskDocument>,
        { $set: { state: "cancelled", lease_expires_at: null }, $currentDate: { ended_at: true } } as Document,
        { returnDocument: "after" },
      );
      return cancelled ?? undefined;
    },

    async find(id: string, creator: string | null): Promise<TaskDocument | undefined> {
      return (await tasks.findOne({ ...byId(id), user: creator } as Filter<TaskDocument>)) ?? undefined;
    },

    /** The tasks that some gateway runs, or ran when it died. */
    running(): Promise<TaskLease[]> {
      return tasks.find<TaskLease>({ state: "running" }, { projection: leaseFields }).toArray();
    },

    /**
     * Looks after a task whose lease should be over. Its gateway died: the task is queued again, or given up where that
     * has happened before.
     *
     * @returns what became of it by this call, the task where it is still running, or undefined where it is not
     */
    async expire(id: unknown): Promise<"queued" | "failed" | TaskLease | undefined> {
      // Leases are made with the server's clock and are compared with it, whatever the gateways' clocks say.
      const { localTime } = await db.command({ hello: 1 });
      const expired = { _id: id, state: "running", lease_expires_at: { $not: { $gt: localTime as Date } } };
      const error: TaskError = {
        code: "gateway-lost",
        message: `the task was begun ${maxAttempts} times, and each time the gateway that ran it was lost`,
      };
      const givenUp = await tasks.updateOne(
        { ...expired, attempts: { $gte: maxAttempts } } as Filter<TaskDocument>,
        {
          $set: { state: "failed", error, lease_expires_at: null },
          $currentDate: { ended_at: true },
        } as Document,
      );
      if (givenUp.modifiedCount > 0) return "failed";
      const queued = await tasks.updateOne(
        { ...expired, attempts: { $not: { $gte: maxAttempts } } } as Filter<TaskDocument>,
        { $set: { state: "queued", gateway: null, lease_expires_at: null, started_at: null, progress: null } },
      );
      if (queued.modifiedCount > 0) return "queued";
      const running = { _id: id, state: "running" } as Filter<TaskDocument>;
      return (await tasks.findOne<TaskLease>(running, { projection: leaseFields })) ?? undefined;
    },
  };
}

/** Of several gateways that start at once, the first makes it. */
function ignoreExisting(error: unknown): void {
  const namespaceExists = 48;
  if (!(error instanceof MongoServerError && error.code === namespaceExists)) throw error;
}

async function matched(tasks: Collection<TaskDocument>, fence: Fence, update: Document | Document[]): Promise<boolean> {
  const result = await tasks.updateOne({ ...fence, state: "running" } as Filter<TaskDocument>, update);
  return result.matchedCount > 0;
}

/** Tasks made here have an ObjectId, one inserted by another program may have a text that looks like it. */
function byId(id: string): Document {
  return { _id: /^[0-9a-f]{24}$/i.test(id) ? { $in: [new ObjectId(id), id] } : id };
}
