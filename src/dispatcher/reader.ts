import type { Document } from "mongodb";
import { type Database, decodeDocument, decoding } from "../database.js";
import type { MatchOptions } from "../filter/compile.js";
import type { Filter } from "../filter/parse.js";
import type { Representation } from "./representation.js";

/** How long the database may work for one snapshot, in milliseconds. */
const snapshotMilliseconds = 60_000;

/** A document as it was read, with its bytes where a format is written from those. */
export interface StoredDocument {
  readonly document: Document;
  readonly bytes?: Uint8Array;
}

/** What a filtered view needs of the database before it can say what a change is to its audience. */
export interface ViewReader {
  /** How the server matches, where that depends on its version. */
  readonly matching: MatchOptions;
  /** Whether the server keeps an image of each document before a change. */
  hasImages(collection: string): Promise<boolean>;
  /** The ids of the documents that match now. */
  idsOf(collection: string, filter: Filter): Promise<unknown[]>;
  /** The documents that match now, as far as a representation needs them. */
  documentsOf(shows: {
    readonly collection: string;
    readonly filter: Filter | undefined;
    readonly representation: Pick<Representation, "fields" | "format">;
  }): AsyncIterable<StoredDocument>;
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
    async *documentsOf({ collection, filter, representation: { fields, format } }) {
      const projection =
        fields === undefined ? {} : { projection: Object.fromEntries(["_id", ...fields].map((path) => [path, 1])) };
      const found = db.collection(collection).find(filter?.query ?? {}, {
        ...decoding,
        ...projection,
        ...(format === "json" ? {} : { raw: true }),
        readConcern: { level: "majority" },
        maxTimeMS: snapshotMilliseconds,
      });
      for await (const row of found) {
        // With `raw` the driver hands out bytes, whatever its types say.
        const read: Document | Uint8Array = row;
        yield read instanceof Uint8Array ? { document: decodeDocument(read), bytes: read } : { document: read };
      }
    },
  };
}
