import { Binary, BSON, type Document, Timestamp } from "mongodb";
import { decodeDocument } from "../database.js";
import type { Operation } from "../message.js";
import { timeOfPosition } from "../position.js";
import { documentAt, type RawEvent } from "./raw-event.js";

/** What an event takes in memory beyond its bytes, roughly. */
const bytesPerEvent = 250;

/**
 * One change of one document, as the dispatcher needs it. Its documents are decoded when they are first asked for; each
 * of the members that give one throws BSON's errors where it can't be decoded.
 */
export class Change {
  readonly kind = "change";
  readonly operation: Operation;
  readonly collection: string;
  readonly position: string;
  readonly #event: RawEvent;
  /** The document after an update, where it had to be looked up. */
  #lookedUp: Uint8Array | undefined;
  #seenAt: string | undefined;
  #id: unknown;
  #before: Document | undefined;
  #after: Document | undefined;
  #touched: readonly string[] | undefined;

  constructor(operation: Operation, event: RawEvent, position: string) {
    this.operation = operation;
    this.collection = event.ns?.coll ?? "";
    this.position = position;
    this.#event = event;
  }

  /** The document's `_id`. */
  get id(): unknown {
    this.#id ??= decodeDocument(this.documentKey)._id;
    return this.#id;
  }

  /** The `_id`, and the values of the shard key, in BSON. */
  get documentKey(): Uint8Array {
    return documentAt(this.#event.bytes, this.#event.documentKeyAt);
  }

  /** The document before the change, or undefined where the server kept no pre-image. */
  get before(): Document | undefined {
    const bytes = this.beforeBytes;
    if (bytes !== undefined) this.#before ??= decodeDocument(bytes);
    return this.#before;
  }

  /**
   * The document after the change, or undefined where there is none: it was removed, by this change or by a later one
   * that this change's look-up already saw.
   */
  get after(): Document | undefined {
    const bytes = this.afterBytes;
    if (bytes !== undefined) this.#after ??= decodeDocument(bytes);
    return this.#after;
  }

  /** The paths that an update touched, or undefined where the whole document was replaced. */
  get touched(): readonly string[] | undefined {
    const { bytes, updateDescriptionAt: at } = this.#event;
    if (at !== 0) this.#touched ??= pathsOf(decodeDocument(documentAt(bytes, at)));
    return this.#touched;
  }

  /** The document before the change, in BSON. */
  get beforeBytes(): Uint8Array | undefined {
    const { bytes, fullDocumentBeforeChangeAt: at } = this.#event;
    return at === 0 ? undefined : documentAt(bytes, at);
  }

  /** The document after the change, in BSON. */
  get afterBytes(): Uint8Array | undefined {
    const { bytes, fullDocumentAt: at } = this.#event;
    return at === 0 ? this.#lookedUp : documentAt(bytes, at);
  }

  get hasBefore(): boolean {
    return this.#event.fullDocumentBeforeChangeAt !== 0;
  }

  get hasAfter(): boolean {
    return this.#event.fullDocumentAt !== 0 || this.#lookedUp !== undefined;
  }

  /** What it takes in memory, roughly. */
  get size(): number {
    return bytesPerEvent + this.#event.bytes.length + (this.#lookedUp?.length ?? 0);
  }

  /** Whether it is an update that came without the document as it is now. */
  get needsLookUp(): boolean {
    return this.operation === "update" && !this.hasAfter;
  }

  /**
   * @param document - as it is now, in BSON; undefined where it is gone already
   * @param seenAt - the time of that, as the beginning of a position
   */
  lookedUp(document: Uint8Array | undefined, seenAt?: string): void {
    this.#lookedUp = document;
    this.#seenAt = seenAt;
  }

  /** When the document was looked up, where that may be later than the change, as the beginning of a position. */
  get seenAhead(): string | undefined {
    return this.#seenAt !== undefined && this.#seenAt > timeOfPosition(this.position) ? this.#seenAt : undefined;
  }

  /** Lets go of what was decoded: it can be had again. */
  forget(): void {
    this.#id = undefined;
    this.#before = undefined;
    this.#after = undefined;
    this.#touched = undefined;
  }
}

/** @returns the paths in an event's `updateDescription` */
function pathsOf({ updatedFields, removedFields, truncatedArrays }: Document): string[] {
  return [
    ...Object.keys((updatedFields as Document | undefined) ?? {}),
    ...((removedFields as string[] | undefined) ?? []),
    ...((truncatedArrays as { field: string }[] | undefined) ?? []).map((entry) => entry.field),
  ];
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
 * @param position - its place in the history
 * @returns the change or reset, or undefined where the event changes nothing that a client sees
 */
export function changeOf(event: RawEvent, position: string): StreamEvent | undefined {
  switch (event.operationType) {
    case "insert":
    case "update":
    case "delete":
      return new Change(event.operationType, event, position);
    case "replace":
      return new Change("update", event, position);
    case "drop":
      return { kind: "reset", reason: "dropped", collections: collectionsOf(event), position };
    case "rename":
      // Both ends are void: the old name has no documents now, and the new one may have replaced a collection.
      return { kind: "reset", reason: "renamed", collections: collectionsOf(event), position };
    case "dropDatabase":
      return { kind: "reset", reason: "dropped", collections: undefined, position };
    default:
      return undefined;
  }
}

function collectionsOf({ ns, to }: RawEvent): string[] {
  return [ns?.coll, to?.coll].filter((name) => name !== undefined);
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
