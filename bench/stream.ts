import type { ChangeStream, ChangeStreamOptions, Db } from "mongodb";

/** How the gateway decodes documents; a spec keeps it in step with `src/database.ts`. */
export const decoding = { bsonRegExp: true, enableUtf8Validation: false, promoteBuffers: false };

/**
 * The change stream that the gateway opens for an interface `items`, with the same options and the same decoding, so that
 * the server and the driver do the same work for the floor. To be kept in step with `src/watcher/watcher.ts`.
 *
 * @param from - where it begins, by default now
 */
export function openStream(db: Db, from: Pick<ChangeStreamOptions, "startAtOperationTime"> = {}): ChangeStream {
  const match = {
    $match: {
      $or: [
        { "ns.coll": { $in: ["items"] } },
        { "to.coll": { $in: ["items"] } },
        { operationType: { $in: ["dropDatabase", "invalidate"] } },
      ],
    },
  };
  return db.watch([match, { $changeStreamSplitLargeEvent: {} }], {
    ...decoding,
    fullDocument: "whenAvailable",
    fullDocumentBeforeChange: "whenAvailable",
    showExpandedEvents: true,
    maxAwaitTimeMS: 1_000,
    batchSize: 1_000,
    ...from,
  });
}
