import { BSON, type Db, type Document } from "mongodb";
import { decoding } from "../database.js";
import type { Change, StreamEvent } from "./change.js";

/**
 * Fills in the documents of updates that came without one, with one read per collection and batch. The document found may
 * be later than the change: its later changes follow, so a client converges. One that is not found is gone already, and
 * `after` stays undefined: the change takes it out of every view that it was in.
 */
export async function lookUp(db: Db, events: readonly StreamEvent[]): Promise<void> {
  const missing = new Map<string, Change[]>();
  for (const event of events) {
    if (event.kind !== "change" || event.operation === "delete" || event.after !== undefined) continue;
    const changes = missing.get(event.collection);
    if (changes === undefined) missing.set(event.collection, [event]);
    else changes.push(event);
  }
  // On the data path proper there is nothing to wait for: inserts, deletes and updates with a post-image.
  if (missing.size === 0) return;
  await Promise.all([...missing].map(([collection, changes]) => fill(db, collection, changes)));
}

async function fill(db: Db, collection: string, changes: readonly Change[]): Promise<void> {
  const ids = new Map<string, unknown>();
  for (const change of changes) ids.set(keyOf(change.id), change.id);
  const found = await db
    .collection(collection)
    .find({ _id: { $in: [...ids.values()] } } as Document, {
      ...decoding,
      readConcern: { level: "majority" },
      batchSize: ids.size + 1,
    })
    .toArray();
  const documents = new Map(found.map((document) => [keyOf(document._id), document]));
  for (const change of changes) change.after = documents.get(keyOf(change.id));
}

/** A text that is the same for two ids exactly where they are the same value of the same type. */
function keyOf(id: unknown): string {
  return typeof id === "string" ? `s${id}` : BSON.EJSON.stringify({ id }, { relaxed: false });
}
