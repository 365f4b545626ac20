import { BSON, type Document, type Timestamp } from "mongodb";
import type { Database } from "../database.js";
import { formatPosition, ordinals, timeOfPosition } from "../position.js";
import { type Change, type StreamEvent, timeOf } from "./change.js";
import { idKeyOf, inItsOrder, isDocumentKey } from "./raw-event.js";

/** What a position has beside its time. */
const ofNone = { ordinal: ordinals.before, tag: "" };

/** The documents of updates could not be read: the batch has to be had again. */
export class LookUpError extends Error {
  readonly code = "look-up-failed";

  constructor(cause: unknown) {
    super(`a look-up failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = "LookUpError";
  }
}

/** @returns the updates that came without their document, by collection */
export function updatesToLookUp(events: readonly StreamEvent[]): Map<string, Change[]> {
  const missing = new Map<string, Change[]>();
  for (const event of events) {
    if (event.kind !== "change" || !event.needsLookUp) continue;
    const changes = missing.get(event.collection);
    if (changes === undefined) missing.set(event.collection, [event]);
    else changes.push(event);
  }
  return missing;
}

/**
 * Fills in the documents of updates that came without one, with one read per collection and batch. The document found may
 * be later than the change: its later changes follow, so a client converges. One that is not found is gone already: its
 * change takes it out of every view that it was in.
 *
 * The read is causally after the batch, as the server's own look-up is: after a failover, or on a secondary, a member that
 * is behind would give an older document, or none.
 *
 * @param missing - the updates, by collection
 * @param until - the cluster time of the batch's last whole event
 * @throws LookUpError
 */
export async function lookUp(
  database: Pick<Database, "client" | "db">,
  missing: ReadonlyMap<string, readonly Change[]>,
  until: Timestamp | undefined,
): Promise<void> {
  const session = database.client.startSession({ causalConsistency: true });
  if (until !== undefined) session.advanceOperationTime(until);

  async function fill(collection: string, changes: readonly Change[]): Promise<void> {
    const ids = new Map<string, unknown>();
    for (const change of changes) {
      try {
        const key = idKeyOf(change.documentKey);
        ids.set(key, isDocumentKey(key) ? inItsOrder(change.documentKey).get("_id") : change.id);
      } catch (error) {
        // An id that can't be read can't be looked up; whoever shows the change meets the same error.
        if (!(error instanceof BSON.BSONError)) throw error;
      }
    }
    const found = await database.db
      .collection(collection)
      .find({ _id: { $in: [...ids.values()] } } as Document, {
        raw: true,
        session,
        readConcern: { level: "majority" },
        batchSize: ids.size + 1,
      })
      .toArray();
    const documents = new Map((found as unknown as Uint8Array[]).map((bytes) => [idKeyOf(bytes), bytes]));
    const { operationTime } = session;
    const seenAt = operationTime && timeOfPosition(formatPosition({ ...timeOf(operationTime), ...ofNone }));
    for (const change of changes) change.lookedUp(documents.get(idKeyOf(change.documentKey)), seenAt);
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
}
