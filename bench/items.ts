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

/** Whose the documents are. */
export interface Users {
  /** Their number, 500 by default: `u-000000`, `u-000001` and so on, one after another. */
  count?: number;
  /**
   * Instead of one after another: at random, but of each so many changes that follow one another only from one part of the
   * users, then from the next.
   */
  scattered?: { together: number; parts: number };
}

/**
 * @param users - whose they are
 * @param documents - how many documents the updates go round
 */
export function createItems(users: Users = {}, documents = 1000): Items {
  const { count = 500, scattered } = users;
  let sequence = 0;
  const ids = Array.from({ length: documents }, () => new ObjectId());
  const userIndex = (): number => {
    if (scattered === undefined) return sequence % count;
    const size = count / scattered.parts;
    const part = Math.floor(sequence / scattered.together) % scattered.parts;
    return part * size + Math.floor(Math.random() * size);
  };
  const changing = (): Document => {
    sequence += 1;
    return { sequence, progress: (sequence % 100) / 100, written_at_us: monotonicMicroseconds() };
  };
  const next = (): Document => ({
    state: "running",
    user: { id: userId(userIndex()), name: "Ada Example" },
    created_at: new Date(),
    note,
    ...changing(),
  });

  let note = "";
  const bare = JSON.stringify({ interface: "items", operation: "insert", data: { ...next(), id: new ObjectId() } });
  note = "x".repeat(Math.max(0, messageBytes - bare.length));
  sequence = 0;
  const updatable = ids.map((_id) => ({ ...next(), _id }));
  sequence = 0;
  return {
    next,
    nextUpdate: () => ({
      updateOne: { filter: { _id: ids[sequence % documents] as ObjectId }, update: { $set: changing() } },
    }),
    updatable,
  };
}

/** @param index - from 0 on */
export function userId(index: number): string {
  return `u-${String(index).padStart(6, "0")}`;
}
