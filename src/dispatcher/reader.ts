import type { Document } from "mongodb";
import { type Database, decoding } from "../database.js";
import type { MatchOptions } from "../filter/compile.js";
import type { Filter } from "../filter/parse.js";

/** How long the database may work for one snapshot, in milliseconds. */
const snapshotMilliseconds = 60_000;

/** What a filtered view needs of the database before it can say what a change is to its audience. */
export interface ViewReader {
  /** How the server matches, where that depends on its version. */
  readonly matching: MatchOptions;
  /** Whether the server keeps an image of each document before a change. */
  hasImages(collection: string): Promise<boolean>;
  /** The ids of the documents that match now. */
  idsOf(collection: string, filter: Filter): Promise<unknown[]>;
  /** The documents that match now, as far as a representation needs them. */
  documentsOf(
    collection: string,
    filter: Filter | undefined,
    fields: readonly string[] | undefined,
  ): AsyncIterable<Document>;
}

export function createViewReader(database: Pick<Database, "db" | "support">): ViewReader {
  const { db } = database;
  return {
    // Asked for when the server's version is known.
    get matching() {
      return database.support;
    },
    async hasImages(collection) {
      if (!database.support.images) return false;
      const [found] = await db.listCollections({ name: collection }).toArray();
      const { options } = (found ?? {}) as { options?: Document };
      return options?.changeStreamPreAndPostImages?.enabled === true;
    },
    async idsOf(collection, filter) {
      const documents = await db
        .collection(collection)
        .find(filter.query, { ...decoding, projection: { _id: 1 }, readConcern: { level: "majority" } })
        .toArray();
      return documents.map((document) => document._id);
    },
    documentsOf(collection, filter, fields) {
      const projection =
        fields === undefined ? {} : { projection: Object.fromEntries(["_id", ...fields].map((path) => [path, 1])) };
      return db.collection(collection).find(filter?.query ?? {}, {
        ...decoding,
        ...projection,
        readConcern: { level: "majority" },
        maxTimeMS: snapshotMilliseconds,
      });
    },
  };
}
