import { type AnyBulkWriteOperation, type Document, ObjectId } from "mongodb";
import { monotonicMicroseconds } from "./clock.js";

/** A change as a message, `{"interface","operation","data"}`, is about so long. */
const messageBytes = 330;

/** Documents as a lab, a shop or a fleet might write them, all of about one length. */
export interface Items {
  next(): Document;
  /** One of `documents` documents in turn, changed in three fields. */
  nextUpdate(): AnyBulkWriteOperation;
  /** What `nextUpdate` needs to be there. */
  readonly updatable: Document[];
}

/** @param documents - how many documents the updates go round */
export function createItems(documents = 1000): Items {
  let sequence = 0;
  const ids = Array.from({ length: documents }, () => new ObjectId());
  const changing = (): Document => {
    sequence += 1;
    return { sequence, progress: (sequence % 100) / 100, written_at_us: monotonicMicroseconds() };
  };
  const next = (): Document => ({
    state: "running",
    user: { id: `u-${String(sequence % 500).padStart(4, "0")}`, name: "Ada Example" },
    created_at: new Date(),
    note,
    ...changing(),
  });

  let note = "";
  const bare = JSON.stringify({ interface: "items", operation: "insert", data: { ...next(), id: new ObjectId() } });
  note = "x".repeat(Math.max(0, messageBytes - bare.length));
  return {
    next,
    nextUpdate: () => ({
      updateOne: { filter: { _id: ids[sequence % documents] as ObjectId }, update: { $set: changing() } },
    }),
    updatable: ids.map((_id) => ({ ...next(), _id })),
  };
}
