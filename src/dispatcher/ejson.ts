import { BSON, Decimal128, type Document } from "mongodb";
import { encodeKey } from "./json.js";
import {
  createRepresentation,
  type Representation,
  represent,
  type Selection,
  type Shown,
  selectionOf,
} from "./representation.js";

/*
 * Canonical Extended JSON v2: https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
 *
 * It is written from the bytes of BSON, for a decoded document has lost what this form is asked for: whether a number was an
 * int32, an int64 or a double, dates beyond JavaScript's, the order of keys that are numbers, a key that is there twice.
 */

/**
 * @param shown - as for `createRepresentation`: it shows the same fields. What a function returns is shown as the driver would
 *   store it
 */
export function createExtendedRepresentation(shown: Shown): Representation {
  const { fields, representation } = shown;
  const selection = fields === undefined ? undefined : selectionOf(fields);
  return {
    fields: representation === undefined ? fields : undefined,
    format: "ejson",
    encode:
      representation === undefined
        ? (document, bytes) => encodeShown(bytes ?? bytesOf(document), selection)
        : (document) => encodeShown(bytesOf(represent(representation, document)), undefined),
    encodeId: (id, bytes) => encodeId(bytes ?? bytesOf({ _id: id })),
    mayShow: createRepresentation(shown).mayShow,
  };
}

/** @returns the document, all of it, as it is */
export function encodeExtended(bytes: Uint8Array): string {
  return encodeDocument(viewOf(bytes), 0);
}

/** The driver's own reader: type byte, place and length of the name, place and length of the value. */
const { parseToElements } = BSON.onDemand;

/** A field that is itself named `id` would stand twice: `_id` has the name. */
function encodeShown(bytes: Uint8Array, selection: Selection | undefined): string {
  const view = viewOf(bytes);
  let id = "null";
  let members = "";
  for (const [type, nameOffset, nameLength, offset, length] of parseToElements(bytes)) {
    const name = view.utf8Slice(nameOffset, nameOffset + nameLength);
    if (name === "_id") {
      id = encodeElement(view, type, offset, length);
      continue;
    }
    if (name === "id") continue;
    const encoded = encodeChosen(view, type, offset, length, selection === undefined ? "all" : selection.get(name));
    if (encoded !== undefined) members += `,${encodeKey(name)}${encoded}`;
  }
  return `{${encodeKey("id")}${id}${members}}`;
}

function encodeId(bytes: Uint8Array): string {
  const view = viewOf(bytes);
  for (const [type, nameOffset, nameLength, offset, length] of parseToElements(bytes)) {
    if (view.utf8Slice(nameOffset, nameOffset + nameLength) === "_id") return encodeElement(view, type, offset, length);
  }
  return "null";
}

/** What an application has made is in no database yet. */
function bytesOf(document: Document): Uint8Array {
  return BSON.serialize(document, { ignoreUndefined: false });
}

/** @returns undefined for what is not selected, and for what has no fields to select: as a projection does */
function encodeChosen(
  view: Bytes,
  type: number,
  offset: number,
  length: number,
  chosen: Selection | "all" | undefined,
): string | undefined {
  if (chosen === undefined) return undefined;
  if (chosen === "all") return encodeElement(view, type, offset, length);
  if (type !== types.document && type !== types.array) return undefined;
  const parts: string[] = [];
  for (const [inner, nameOffset, nameLength, at, size] of parseToElements(view, offset)) {
    const name = type === types.array ? undefined : view.utf8Slice(nameOffset, nameOffset + nameLength);
    const encoded = encodeChosen(view, inner, at, size, name === undefined ? chosen : chosen.get(name));
    if (encoded !== undefined) parts.push(name === undefined ? encoded : `${encodeKey(name)}${encoded}`);
  }
  return type === types.array ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
}

function encodeDocument(view: Bytes, start: number): string {
  let text = "";
  for (const [type, nameOffset, nameLength, offset, length] of parseToElements(view, start)) {
    const key = encodeKey(view.utf8Slice(nameOffset, nameOffset + nameLength));
    text += `${text === "" ? "" : ","}${key}${encodeElement(view, type, offset, length)}`;
  }
  return `{${text}}`;
}

function encodeArray(view: Bytes, start: number): string {
  const elements: string[] = [];
  for (const [type, , , offset, length] of parseToElements(view, start)) {
    elements.push(encodeElement(view, type, offset, length));
  }
  return `[${elements.join(",")}]`;
}

function encodeElement(view: Bytes, type: number, offset: number, length: number): string {
  switch (type) {
    case types.string:
      return textAt(view, offset, length);
    case types.document:
      return encodeDocument(view, offset);
    case types.array:
      return encodeArray(view, offset);
    case types.int32:
      return `{"$numberInt":"${view.readInt32LE(offset)}"}`;
    case types.double:
      return `{"$numberDouble":"${doubleText(view.readDoubleLE(offset))}"}`;
    case types.int64:
      return `{"$numberLong":"${view.readBigInt64LE(offset)}"}`;
    case types.decimal:
      return `{"$numberDecimal":"${new Decimal128(view.subarray(offset, offset + length)).toString()}"}`;
    case types.boolean:
      return view[offset] === 0 ? "false" : "true";
    case types.null:
      return "null";
    case types.objectId:
      return `{"$oid":"${view.hexSlice(offset, offset + length)}"}`;
    case types.date:
      return `{"$date":{"$numberLong":"${view.readBigInt64LE(offset)}"}}`;
    case types.binary:
      return encodeBinary(view, offset, length);
    case types.timestamp:
      return `{"$timestamp":{"t":${view.readUInt32LE(offset + 4)},"i":${view.readUInt32LE(offset)}}}`;
    default:
      return encodeRare(view, type, offset, length);
  }
}

function encodeRare(view: Bytes, type: number, offset: number, length: number): string {
  switch (type) {
    case types.regex: {
      const end = view.indexOf(0, offset);
      const pattern = JSON.stringify(view.utf8Slice(offset, end));
      const options = JSON.stringify(view.utf8Slice(end + 1, offset + length - 1));
      return `{"$regularExpression":{"pattern":${pattern},"options":${options}}}`;
    }
    case types.code:
      return `{"$code":${textAt(view, offset, length)}}`;
    case types.codeWithScope: {
      const textLength = 4 + view.readInt32LE(offset + 4);
      const scope = encodeDocument(view, offset + 4 + textLength);
      return `{"$code":${textAt(view, offset + 4, textLength)},"$scope":${scope}}`;
    }
    case types.symbol:
      return `{"$symbol":${textAt(view, offset, length)}}`;
    case types.dbPointer: {
      const namespace = textAt(view, offset, length - 12);
      const id = view.hexSlice(offset + length - 12, offset + length);
      return `{"$dbPointer":{"$ref":${namespace},"$id":{"$oid":"${id}"}}}`;
    }
    case types.undefined:
      return '{"$undefined":true}';
    case types.minKey:
      return '{"$minKey":1}';
    case types.maxKey:
      return '{"$maxKey":1}';
    default:
      throw new BSON.BSONError(`there is no BSON type ${type}`);
  }
}

const oldBinarySubtype = 2;

function encodeBinary(view: Bytes, offset: number, length: number): string {
  const subtype = view[offset + 4] ?? 0;
  // The old subtype has its length twice.
  const start = offset + (subtype === oldBinarySubtype ? 9 : 5);
  const base64 = view.base64Slice(start, offset + length);
  return `{"$binary":{"base64":"${base64}","subType":"${subtype.toString(16).padStart(2, "0")}"}}`;
}

/** A text that is this very number, and that is no integer's. */
function doubleText(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** @param length - of the value, with the length before the text and the zero after it */
function textAt(view: Bytes, offset: number, length: number): string {
  return JSON.stringify(view.utf8Slice(offset + 4, offset + length - 1));
}

/** Node's slices of text, which its types leave out, are twice as fast as `toString` for short ones. */
type Bytes = Buffer & Record<"utf8Slice" | "hexSlice" | "base64Slice", (start: number, end: number) => string>;

function viewOf(bytes: Uint8Array): Bytes {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) as Bytes;
}

/** Type bytes of BSON: https://bsonspec.org/spec.html */
const types = {
  double: 0x01,
  string: 0x02,
  document: 0x03,
  array: 0x04,
  binary: 0x05,
  undefined: 0x06,
  objectId: 0x07,
  boolean: 0x08,
  date: 0x09,
  null: 0x0a,
  regex: 0x0b,
  dbPointer: 0x0c,
  code: 0x0d,
  symbol: 0x0e,
  codeWithScope: 0x0f,
  int32: 0x10,
  timestamp: 0x11,
  int64: 0x12,
  decimal: 0x13,
  maxKey: 0x7f,
  minKey: 0xff,
} as const;
