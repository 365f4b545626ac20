import { Binary, BSON, type ChangeStreamDocument, type Document, Timestamp } from "mongodb";
import type { Operation } from "../message.js";
import { bytesOf } from "./raw.js";

/** One change of one document, as the dispatcher needs it. */
export interface Change {
  readonly kind: "change";
  readonly operation: Operation;
  readonly database: string;
  readonly collection: string;
  /** The document's `_id`. */
  readonly id: unknown;
  /** The document before the change, or undefined where the server kept no pre-image. */
  readonly before: Document | undefined;
  /**
   * The document after the change, or undefined where there is none: it was removed, by this change or by a later one
   * that this change's look-up already saw.
   */
  after: Document | undefined;
  /** The same documents in BSON, for formats that are written from it. */
  readonly beforeBytes: Uint8Array | undefined;
  afterBytes: Uint8Array | undefined;
  /** The `_id`, and the values of the shard key, in BSON. */
  readonly documentKey: Uint8Array | undefined;
  /** The paths that an update touched, or undefined where the whole document was replaced. */
  readonly touched: readonly string[] | undefined;
  readonly position: string;
}

/** What is known of one collection or of all of them is void. */
export interface Reset {
  readonly kind: "reset";
  readonly reason: "history-lost" | "dropped" | "renamed";
  /** The collections, or undefined where every one is meant. */
  readonly collections: readonly string[] | undefined;
  readonly position: string;
}

export type StreamEvent = Change | Reset;

/**
 * Translates a change stream event. Operation types that are not known, now or in a later server, are ignored: an
 * expanded event such as `createIndexes` changes no document.
 *
 * @param event - as the driver decoded it
 * @param position - its place in the history
 * @returns the change or reset, or undefined where the event changes nothing that a client sees
 */
export function changeOf(event: ChangeStreamDocument, position: string): StreamEvent | undefined {
  switch (event.operationType) {
    case "insert":
      return change("insert", event, undefined, event.fullDocument, undefined, position);
    case "update": {
      const { updatedFields, removedFields, truncatedArrays } = event.updateDescription;
      const touched = [
        ...Object.keys(updatedFields ?? {}),
        ...(removedFields ?? []),
        ...(truncatedArrays ?? []).map((entry) => entry.field),
      ];
      return change("update", event, event.fullDocumentBeforeChange, event.fullDocument, touched, position);
    }
    case "replace":
      return change("update", event, event.fullDocumentBeforeChange, event.fullDocument, undefined, position);
    case "delete":
      return change("delete", event, event.fullDocumentBeforeChange, undefined, undefined, position);
    case "drop":
      return { kind: "reset", reason: "dropped", collections: [event.ns.coll], position };
    case "rename":
      // Both ends are void: the old name has no documents now, and the new one may have replaced a collection.
      return { kind: "reset", reason: "renamed", collections: [event.ns.coll, event.to.coll], position };
    case "dropDatabase":
      return { kind: "reset", reason: "dropped", collections: undefined, position };
    default:
      return undefined;
  }
}

type DocumentEvent = Extract<ChangeStreamDocument, { documentKey: unknown; ns: { coll: string } }>;

function change(
  operation: Operation,
  event: DocumentEvent,
  before: Document | null | undefined,
  after: Document | null | undefined,
  touched: readonly string[] | undefined,
  position: string,
): Change {
  return {
    kind: "change",
    operation,
    database: event.ns.db,
    collection: event.ns.coll,
    id: (event.documentKey as { _id: unknown })._id,
    before: before ?? undefined,
    after: after ?? undefined,
    beforeBytes: bytesOf(before),
    afterBytes: bytesOf(after),
    documentKey: bytesOf(event.documentKey as Document),
    touched,
    position,
  };
}

/**
 * The time in a resume token, where its format is known: MongoDB's is a key string whose first value is the cluster
 * time (type byte 0x82 and eight bytes, big-endian); SecantusDB's is BSON with a timestamp in `t`.
 * An idle stream's token is the only thing that says how far it has read.
 *
 * @param token - a resume token as the server gave it
 * @returns the cluster time in it, or undefined where the format is not known
 */
export function timeOfToken(token: unknown): { seconds: number; increment: number } | undefined {
  const data = (token as { _data?: unknown } | null | undefined)?._data;
  const bytes = typeof data === "string" ? Buffer.from(data, "hex") : data instanceof Binary ? data.buffer : undefined;
  if (bytes === undefined || bytes.length < 9) return undefined;
  if (bytes[0] === 0x82) {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    return { seconds: view.readUInt32BE(1), increment: view.readUInt32BE(5) };
  }
  return timeOfBsonToken(bytes);
}

function timeOfBsonToken(bytes: Uint8Array): { seconds: number; increment: number } | undefined {
  let decoded: Document;
  try {
    decoded = BSON.deserialize(bytes);
  } catch {
    // Not BSON either: the format of some other server. The last event's time stands.
    return undefined;
  }
  return decoded.t instanceof Timestamp ? timeOf(decoded.t) : undefined;
}

/** @returns the seconds and increment of a BSON timestamp. */
export function timeOf(timestamp: Timestamp): { seconds: number; increment: number } {
  return { seconds: timestamp.getHighBitsUnsigned(), increment: timestamp.getLowBitsUnsigned() };
}
