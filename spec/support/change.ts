import { BSON, type Document, Timestamp } from "mongodb";
import { formatPosition } from "../../src/position.js";
import { Change } from "../../src/watcher/change.js";
import { RawEvent } from "../../src/watcher/raw-event.js";

export interface ChangeParts {
  readonly _id: unknown;
  readonly collection?: string;
  /** What an update set. */
  readonly set?: Document;
  /** The document as a look-up found it; undefined where it was gone. */
  readonly after?: Document;
  readonly before?: Document;
}

/** @returns the change that an event of the server, made of the parts, would be; without images unless there are some */
export function changeAt(
  time: { seconds: number; increment: number },
  operation: "insert" | "update" | "delete",
  { _id, collection = "items", set = {}, after, before }: ChangeParts,
): Change {
  const event = {
    operationType: operation,
    clusterTime: new Timestamp({ t: time.seconds, i: time.increment }),
    ns: { db: "spec", coll: collection },
    documentKey: { _id },
    ...(operation === "update" && {
      updateDescription: { updatedFields: set, removedFields: [], truncatedArrays: [] },
    }),
    ...(operation === "insert" && { fullDocument: after }),
    ...(before !== undefined && { fullDocumentBeforeChange: before }),
  };
  const position = formatPosition({ ...time, ordinal: 1, tag: "00000000" });
  const change = new Change(operation, new RawEvent(BSON.serialize(event)), position);
  if (operation === "update" && after !== undefined) change.lookedUp(BSON.serialize(after));
  return change;
}
