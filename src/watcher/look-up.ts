import { BSON, type Document, type Timestamp } from "mongodb";
import type { Database } from "../database.js";
import type { Change, StreamEvent } from "./change.js";
import { bytesOf, decodeKnown } from "./raw.js";

/** The documents of updates could not be read: the batch has to be had again. */
export class LookUpError extends Error {
  readonly code = "look-up-failed";

  constructor(cause: unknown) {
    super(`a look-up failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = "LookUpError";
  }
}

/**
 * Fills in the documents of updates that came without one, with one read per collection and batch. The document found may
 * be later than the change: its later changes follow, so a client converges. One that is not found is gone already, and
 * `after` stays undefined: the change takes it out of every view that it was in.
 *
 * The read is causally after the batch, as the server's own look-up is: after a failover, or on a secondary, a member that
 * is behind would give an older document, or none.
 *
 * @param until - the cluster time of the batch's last event
 * @param undecodable - told of a document that can't be decoded; its changes are left out
 * @returns the events to go on with
 * @throws LookUpError
 */
export async function lookUp(
  database: Database,
  events: StreamEvent[],
  until: Timestamp | undefined,
  undecodable: (error: Error) => void,
): Promise<StreamEvent[]> {
  const missing = new Map<string, Change[]>();
  for (const event of events) {
    if (event.kind !== "change" || event.operation === "delete" || event.after !== undefined) continue;
    const changes = missing.get(event.collection);
    if (changes === undefined) missing.set(event.collection, [event]);
    else changes.push(event);
  }
  // On the data path proper there is nothing to wait for: inserts, deletes and updates with a post-image.
  if (missing.size === 0) return events;
  const left = new Set<StreamEvent>();
  const session = database.client.startSession({ causalConsistency: true });
  if (until !== undefined) session.advanceOperationTime(until);

  async function fill(collection: string, changes: readonly Change[]): Promise<void> {
    const ids = new Map<string, unknown>();
    for (const change of changes) ids.set(keyOf(change.id), change.id);
    const documents = new Map<string, Document>();
    const read = async (some: readonly unknown[]): Promise<void> => {
      const options = { raw: true, session, readConcern: { level: "majority" }, batchSize: some.length + 1 } as const;
      const found = await database.db
        .collection(collection)
        .find({ _id: { $in: some } } as Document, options)
        .toArray();
      for (const bytes of found as unknown as Uint8Array[]) {
        const document = decodeKnown(bytes);
        documents.set(keyOf(document._id), document);
      }
    };
    const bad = new Set<string>();
    try {
      await read([...ids.values()]);
    } catch (error) {
      if (!(error instanceof BSON.BSONError)) throw error;
      // One of them can't be decoded: one by one the others can.
      for (const [key, id] of ids) {
        await read([id]).catch((cause: unknown) => {
          if (!(cause instanceof BSON.BSONError)) throw cause;
          undecodable(cause);
          bad.add(key);
        });
      }
    }
    for (const change of changes) {
      const key = keyOf(change.id);
      change.after = documents.get(key);
      change.afterBytes = bytesOf(change.after);
      if (bad.has(key)) left.add(change);
    }
  }

  try {
    // One after another: a session carries one read at a time.
    for (const [collection, changes] of missing) await fill(collection, changes);
  } catch (error) {
    throw new LookUpError(error);
  } finally {
    // Ending a session tells the server in its own time; nothing depends on the answer.
    void session.endSession().catch(() => undefined);
  }
  return left.size === 0 ? events : events.filter((event) => !left.has(event));
}

/** A text that is the same for two ids exactly where they are the same value of the same type. */
function keyOf(id: unknown): string {
  return typeof id === "string" ? `s${id}` : BSON.EJSON.stringify({ id }, { relaxed: false });
}
