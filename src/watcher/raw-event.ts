import { BSON, Timestamp } from "mongodb";

/*
 * An event is read in two steps. What the data path goes by (kind, time, collection) is read from the bytes at once, in
 * half a microsecond; the documents in it are decoded when somebody needs them, and forgotten after that. So an event that
 * concerns nobody costs next to nothing, and a history of bytes leaves the garbage collector nothing to walk through.
 *
 * `parseToElements` is the driver's own way to read an answer; it is not one of its promises, so the driver's version is
 * pinned, and the specs of the watcher read through it.
 */
const { parseToElements } = BSON.onDemand;

/** Type bytes of BSON: https://bsonspec.org/spec.html */
const bsonTypes = { string: 0x02, document: 0x03, array: 0x04, timestamp: 0x11 } as const;

/** What is read of an event, by the length of the name, so that most names are told apart by that alone. */
const fieldsByLength = new Map<number, readonly Field[]>();
const fields = [
  "_id",
  "operationType",
  "clusterTime",
  "ns",
  "to",
  "documentKey",
  "fullDocument",
  "fullDocumentBeforeChange",
  "updateDescription",
  "splitEvent",
] as const;
type Field = (typeof fields)[number];
for (const field of fields) fieldsByLength.set(field.length, [...(fieldsByLength.get(field.length) ?? []), field]);

export interface Namespace {
  readonly db: string;
  /** Absent in events about a whole database. */
  readonly coll: string | undefined;
}

/** An event of the change stream, as far as it has been read. Its documents are slices of its bytes. */
export class RawEvent {
  readonly bytes: Uint8Array;
  operationType = "";
  /** The cluster time, in seconds since 1970 and an increment; the server leaves it out of no event that has a document. */
  seconds: number | undefined;
  increment = 0;
  ns: Namespace | undefined;
  /** The new name, where a collection was renamed. */
  to: Namespace | undefined;
  /** How many fragments the server has split the event into. */
  fragments = 1;
  /** Offsets in `bytes`; 0 where there is none, for no field of an event begins there. */
  tokenAt = 0;
  documentKeyAt = 0;
  fullDocumentAt = 0;
  fullDocumentBeforeChangeAt = 0;
  updateDescriptionAt = 0;

  /** @throws BSONError where the bytes are no document */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    for (const element of parseToElements(bytes)) {
      const field = fieldAt(bytes, element[1], element[2]);
      if (field !== undefined) this.#read(field, element[0], element[3], element[4]);
    }
  }

  #read(field: Field, type: number, offset: number, length: number): void {
    if (field === "operationType" && type === bsonTypes.string) this.operationType = textAt(this.bytes, offset, length);
    else if (field === "clusterTime" && type === bsonTypes.timestamp) {
      this.increment = uint32At(this.bytes, offset);
      this.seconds = uint32At(this.bytes, offset + 4);
    }
    // A look-up that found nothing is null, and so is an image that was not kept.
    if (type !== bsonTypes.document) return;
    if (field === "_id") this.tokenAt = offset;
    else if (field === "ns") this.ns = namespaceAt(this.bytes, offset, length);
    else if (field === "to") this.to = namespaceAt(this.bytes, offset, length);
    else if (field === "documentKey") this.documentKeyAt = offset;
    else if (field === "fullDocument") this.fullDocumentAt = offset;
    else if (field === "fullDocumentBeforeChange") this.fullDocumentBeforeChangeAt = offset;
    else if (field === "updateDescription") this.updateDescriptionAt = offset;
    else if (field === "splitEvent") {
      this.fragments = (BSON.deserialize(documentAt(this.bytes, offset)) as { of?: number }).of ?? 1;
    }
  }

  get clusterTime(): Timestamp | undefined {
    return this.seconds === undefined ? undefined : new Timestamp({ t: this.seconds, i: this.increment });
  }

  /** The resume token of the place after the event. */
  get token(): unknown {
    return BSON.deserialize(documentAt(this.bytes, this.tokenAt));
  }
}

/** @returns the bytes of the document at the offset, whose first four say how many they are; nothing is copied */
export function documentAt(bytes: Uint8Array, offset: number): Uint8Array {
  return bytes.subarray(offset, offset + uint32At(bytes, offset));
}

/**
 * Puts the fragments of a split event together: each has some of the event's fields.
 *
 * @returns an event with the fields of all of them and the token of the last
 */
export function joinFragments(fragments: readonly RawEvent[]): RawEvent {
  const parts: Uint8Array[] = [];
  const last = fragments.at(-1);
  for (const fragment of fragments) {
    for (const [, nameOffset, nameLength, offset, length] of parseToElements(fragment.bytes)) {
      const field = fieldAt(fragment.bytes, nameOffset, nameLength);
      if (field === "splitEvent" || (field === "_id" && fragment !== last)) continue;
      // The type byte stands before the name.
      parts.push(fragment.bytes.subarray(nameOffset - 1, offset + length));
    }
  }
  const bytes = Buffer.concat([new Uint8Array(4), ...parts, new Uint8Array(1)]);
  bytes.writeInt32LE(bytes.length, 0);
  return new RawEvent(bytes);
}

/**
 * @param bytes - a document with an `_id`, or an event's `documentKey`
 * @returns a text that is the same for two documents exactly where their ids are the same value of the same type
 */
export function idKeyOf(bytes: Uint8Array): string {
  for (const [type, nameOffset, nameLength, offset, length] of parseToElements(bytes)) {
    if (fieldAt(bytes, nameOffset, nameLength) === "_id") return `${type}:${textAt(bytes, offset, length, 0)}`;
  }
  return "";
}

/** @returns whether the key, of `idKeyOf`, is that of an id that is a document */
export function isDocumentKey(key: string): boolean {
  return key.startsWith(`${bsonTypes.document}:`);
}

/**
 * @param bytes - a document
 * @returns the same for a query: JavaScript's own objects put keys that look like integers first, and for MongoDB that is another
 */
export function inItsOrder(bytes: Uint8Array): Map<string, unknown> {
  const entries = new Map<string, unknown>();
  for (const [type, nameOffset, nameLength, offset, length] of parseToElements(bytes)) {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const name = view.toString("utf8", nameOffset, nameOffset + nameLength);
    if (type === bsonTypes.document) entries.set(name, inItsOrder(documentAt(bytes, offset)));
    else if (type === bsonTypes.array) entries.set(name, [...inItsOrder(documentAt(bytes, offset)).values()]);
    else entries.set(name, decodeElement(view.subarray(nameOffset - 1, offset + length), name));
  }
  return entries;
}

/** @param element - one of a document's, with its type and its name */
function decodeElement(element: Uint8Array, name: string): unknown {
  const bytes = Buffer.concat([new Uint8Array(4), element, new Uint8Array(1)]);
  bytes.writeInt32LE(bytes.length, 0);
  return BSON.deserialize(bytes, { promoteValues: false, bsonRegExp: true })[name];
}

function fieldAt(bytes: Uint8Array, offset: number, length: number): Field | undefined {
  for (const field of fieldsByLength.get(length) ?? []) if (isAt(field, bytes, offset)) return field;
  return undefined;
}

function isAt(name: string, bytes: Uint8Array, offset: number): boolean {
  for (let index = 0; index < name.length; index++) {
    if (bytes[offset + index] !== name.charCodeAt(index)) return false;
  }
  return true;
}

function uint32At(bytes: Uint8Array, offset: number): number {
  const [a, b, c, d] = [bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]] as [
    number,
    number,
    number,
    number,
  ];
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

/** @param around - bytes of a BSON string that are not its text: the length before it, and the zero after it */
function textAt(bytes: Uint8Array, offset: number, length: number, around = 4): string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + offset, length);
  return around === 0 ? view.toString("latin1") : view.toString("latin1", around, length - 1);
}

/** Few namespaces come again and again; the bytes of one stand for it. */
const namespaces = new Map<string, Namespace>();
const mostNamespaces = 1_000;

function namespaceAt(bytes: Uint8Array, offset: number, length: number): Namespace {
  const key = textAt(bytes, offset, length, 0);
  const known = namespaces.get(key);
  if (known !== undefined) return known;
  const { db, coll } = BSON.deserialize(documentAt(bytes, offset)) as { db: string; coll?: string };
  // Data can't grow it without end: only what the stream was opened for comes here, and what is renamed.
  if (namespaces.size >= mostNamespaces) namespaces.clear();
  const namespace = { db, coll };
  namespaces.set(key, namespace);
  return namespace;
}
