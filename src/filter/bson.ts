import type { BSON, Document } from "mongodb";
import { isPlainObject } from "./limits.js";

/**
 * @returns the name of a BSON class, as the class itself tells it; undefined for documents, also where somebody stored a
 *   field with the name of that mark
 */
export function bsonTypeOf(value: object): string | undefined {
  if (isPlainObject(value) || !("_bsontype" in value)) return undefined;
  return typeof value._bsontype === "string" ? value._bsontype : undefined;
}

/**
 * @returns `value` as a document to look into, or undefined where it is none. The driver gives documents with `$ref` and
 *   `$id` as instances of a class.
 */
export function documentOf(value: unknown): Document | undefined {
  if (isPlainObject(value)) return value;
  if (typeof value !== "object" || value === null || bsonTypeOf(value) !== "DBRef") return undefined;
  const reference = value as BSON.DBRef;
  const database = reference.db === undefined ? {} : { $db: reference.db };
  return { $ref: reference.collection, $id: reference.oid, ...database, ...reference.fields };
}

/**
 * The places of the BSON types in the comparison order of MongoDB, by its own numbers. Types with one number are
 * compared by value.
 * https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
 */
export const typeOrder = {
  minKey: -1,
  undefined: 0,
  null: 5,
  number: 10,
  string: 15,
  document: 20,
  array: 25,
  binary: 30,
  objectId: 35,
  boolean: 40,
  date: 45,
  timestamp: 47,
  regex: 50,
  code: 60,
  codeWithScope: 65,
  maxKey: 127,
} as const;

const classOrder: ReadonlyMap<string, number> = new Map([
  ["MinKey", typeOrder.minKey],
  ["Int32", typeOrder.number],
  ["Double", typeOrder.number],
  ["Long", typeOrder.number],
  ["Decimal128", typeOrder.number],
  ["BSONSymbol", typeOrder.string],
  ["DBRef", typeOrder.document],
  ["Binary", typeOrder.binary],
  ["ObjectId", typeOrder.objectId],
  ["Timestamp", typeOrder.timestamp],
  ["BSONRegExp", typeOrder.regex],
  ["MaxKey", typeOrder.maxKey],
]);

/** @returns where values of this type stand in {@link typeOrder}; what is missing stands with undefined */
export function typeOrderOf(value: unknown): number {
  switch (typeof value) {
    case "string":
      return typeOrder.string;
    case "number":
    case "bigint":
      return typeOrder.number;
    case "boolean":
      return typeOrder.boolean;
    case "object":
      return value === null ? typeOrder.null : objectOrderOf(value);
    default:
      return typeOrder.undefined;
  }
}

function objectOrderOf(value: object): number {
  if (Array.isArray(value)) return typeOrder.array;
  if (isPlainObject(value)) return typeOrder.document;
  if (value instanceof Date) return typeOrder.date;
  if (value instanceof RegExp) return typeOrder.regex;
  if (value instanceof Uint8Array) return typeOrder.binary;
  const type = bsonTypeOf(value) ?? "";
  if (type === "Code") return (value as BSON.Code).scope === null ? typeOrder.code : typeOrder.codeWithScope;
  return classOrder.get(type) ?? typeOrder.document;
}
