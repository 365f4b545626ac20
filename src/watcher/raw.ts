import { BSON, type ChangeStreamDocument, type Document } from "mongodb";
import { decodeDocument } from "../database.js";

/** The bytes of documents that were decoded here, for as long as those are kept. */
const known = new WeakMap<object, Uint8Array>();
const { parseToElements } = BSON.onDemand;
const documentType = 0x03;

/** @returns the bytes that the document was decoded from, or undefined where it was not decoded here */
export function bytesOf(document: Document | null | undefined): Uint8Array | undefined {
  return document === null || document === undefined ? undefined : known.get(document);
}

/** @throws BSONError */
export function decodeKnown(bytes: Uint8Array): Document {
  const document = decodeDocument(bytes);
  known.set(document, bytes);
  return document;
}

/**
 * @param bytes - an event of the change stream
 * @returns the event, of whose documents `bytesOf` knows the bytes
 * @throws BSONError
 */
export function decodeEvent(bytes: Uint8Array): ChangeStreamDocument {
  const event = decodeDocument(bytes);
  for (const [type, nameOffset, nameLength, offset, length] of parseToElements(bytes)) {
    if (type !== documentType) continue;
    const member: unknown =
      event[Buffer.from(bytes.buffer, bytes.byteOffset + nameOffset, nameLength).toString("latin1")];
    if (typeof member === "object" && member !== null) known.set(member, bytes.subarray(offset, offset + length));
  }
  return event as ChangeStreamDocument;
}
