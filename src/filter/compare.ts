import type { BSON } from "mongodb";
import { documentOf, typeOrder, typeOrderOf } from "./bson.js";
import { compareNumbers } from "./numbers.js";

/**
 * Compares two values in MongoDB's order across all BSON types, without a collation. It takes values as the driver
 * gives them, promoted or as instances of the BSON classes.
 *
 * Two things are lost before a value gets here: dates beyond JavaScript's range (they compare as neither equal nor
 * ordered: the result is NaN), and the place of keys such as "7" in a document (they come first).
 *
 * @returns a negative number, 0 or a positive number
 */
export function compareValues(left: unknown, right: unknown): number {
  const order = typeOrderOf(left);
  return order - typeOrderOf(right) || compareWithin(order, left, right);
}

/**
 * Compares two values that stand at the same place of the order of types.
 *
 * @param order - that place, from `typeOrder`
 */
export function compareWithin(order: number, left: unknown, right: unknown): number {
  switch (order) {
    case typeOrder.number:
      return compareNumbers(left, right);
    case typeOrder.string:
      return compareStrings(textOf(left), textOf(right));
    case typeOrder.document:
      return compareDocuments(left, right);
    case typeOrder.array:
      return compareArrays(left as readonly unknown[], right as readonly unknown[]);
    case typeOrder.binary:
      return compareBinaries(binaryOf(left), binaryOf(right));
    case typeOrder.objectId:
      return Buffer.compare((left as BSON.ObjectId).id, (right as BSON.ObjectId).id);
    case typeOrder.boolean:
      return Number(left) - Number(right);
    case typeOrder.date:
      return (left as Date).getTime() - (right as Date).getTime();
    case typeOrder.timestamp:
      return compareTimestamps(left as BSON.Timestamp, right as BSON.Timestamp);
    case typeOrder.regex:
      return compareRegExps(regExpOf(left), regExpOf(right));
    case typeOrder.code:
    case typeOrder.codeWithScope:
      return compareCodes(left as BSON.Code, right as BSON.Code);
    default:
      return 0;
  }
}

/**
 * Compares by the bytes of UTF-8, as the server does. JavaScript compares 16-bit units, which puts characters beyond
 * U+FFFF before those from U+E000 on.
 */
export function compareStrings(left: string, right: string): number {
  if (left === right) return 0;
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index += 1) {
    const a = left.charCodeAt(index);
    const b = right.charCodeAt(index);
    if (a !== b) return utf8Rank(a) - utf8Rank(b);
  }
  return left.length - right.length;
}

/** @returns whether 16-bit units compare `text` with every other string as UTF-8 does */
export function comparesByUnits(text: string): boolean {
  return !/[\uD800-\uFFFF]/.test(text);
}

/** @returns the text of a string or symbol */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : (value as BSON.BSONSymbol).value;
}

/** @returns pattern and options of a regular expression, from BSON or promoted by the driver */
export function regExpOf(value: unknown): { readonly pattern: string; readonly options: string } {
  if (!(value instanceof RegExp)) return value as BSON.BSONRegExp;
  // The driver promotes BSON's option s to JavaScript's flag g.
  const options = [...new Set(value.flags.replace("g", "s"))].sort().join("");
  return { pattern: value.source === "(?:)" ? "" : value.source, options };
}

/** @returns bytes and subtype of a binary value, and its length as BSON has it */
export function binaryOf(value: unknown): {
  readonly bytes: Uint8Array;
  readonly subtype: number;
  readonly length: number;
} {
  if (value instanceof Uint8Array) return { bytes: value, subtype: 0, length: value.length };
  const binary = value as BSON.Binary;
  const bytes = binary.buffer.subarray(0, binary.position);
  // Subtype 2 has its length in front of the bytes once more.
  return { bytes, subtype: binary.sub_type, length: bytes.length + (binary.sub_type === 2 ? 4 : 0) };
}

function utf8Rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** Documents compare field by field: type, then name, then value; the one that ends first is less. */
function compareDocuments(left: unknown, right: unknown): number {
  const a = Object.entries(documentOf(left) ?? {});
  const b = Object.entries(documentOf(right) ?? {});
  for (const [index, [name, value]] of a.entries()) {
    const other = b[index];
    if (other === undefined) return 1;
    const order = typeOrderOf(value);
    const difference =
      order - typeOrderOf(other[1]) || compareStrings(name, other[0]) || compareWithin(order, value, other[1]);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function compareArrays(left: readonly unknown[], right: readonly unknown[]): number {
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index += 1) {
    const difference = compareValues(left[index], right[index]);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function compareBinaries(left: ReturnType<typeof binaryOf>, right: ReturnType<typeof binaryOf>): number {
  return left.length - right.length || left.subtype - right.subtype || Buffer.compare(left.bytes, right.bytes);
}

function compareTimestamps(left: BSON.Timestamp, right: BSON.Timestamp): number {
  return left.t - right.t || left.i - right.i;
}

function compareRegExps(left: ReturnType<typeof regExpOf>, right: ReturnType<typeof regExpOf>): number {
  return compareStrings(left.pattern, right.pattern) || compareStrings(left.options, right.options);
}

function compareCodes(left: BSON.Code, right: BSON.Code): number {
  return compareStrings(left.code, right.code) || compareDocuments(left.scope ?? {}, right.scope ?? {});
}
