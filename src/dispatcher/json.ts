import type { Binary, Code, DBRef, Decimal128, Document, Long, ObjectId, Timestamp } from "mongodb";

/**
 * The one mapping of BSON to JSON that clients see. JSON has fewer types, so some lose theirs; none loses its value unless
 * JSON has no way at all to say it:
 *
 * | BSON | JSON |
 * | --- | --- |
 * | double, int32, int64 up to 2^53 | number; NaN and the infinities are null |
 * | int64 beyond 2^53, Decimal128 | string of the decimal number |
 * | string, symbol, JavaScript code | string; code with a scope is `{"code","scope"}` |
 * | ObjectId | string of 24 hexadecimal digits |
 * | date | string in ISO 8601, UTC, with milliseconds; null beyond JavaScript's range |
 * | UUID | string of the usual form |
 * | other binary | string in base64 |
 * | regular expression | string `/pattern/options` |
 * | timestamp | `{"t": seconds, "i": increment}` |
 * | MinKey, MaxKey | `"MinKey"`, `"MaxKey"` |
 * | DBRef | `{"$ref","$id","$db"}` |
 * | undefined, null | null |
 * | boolean, document, array | themselves; every key is kept as it is, `$oid` and `__proto__` too |
 *
 * It writes text directly instead of building a plain copy for `JSON.stringify`: one pass, no `toJSON` found in data is
 * ever called, and no key can reach a prototype.
 *
 * @param value - a value as the driver decodes it with `decoding` of database.ts, or any value of an application's own
 * @returns JSON text
 */
export function encodeValue(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return Number.isFinite(value) ? `${value}` : "null";
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? `${value}` : `"${value}"`;
    case "object":
      return value === null ? "null" : encodeObject(value);
    default:
      // undefined, and what no document holds: functions and symbols of an application's representation.
      return "null";
  }
}

/** @returns the key as JSON text with its colon. */
export function encodeKey(key: string): string {
  const known = encodedKeys.get(key);
  if (known !== undefined) return known;
  const encoded = `${JSON.stringify(key)}:`;
  // Keys repeat from document to document, but data may also use ids as keys: those must not pile up here.
  if (encodedKeys.size < 4_096 && key.length < 64) encodedKeys.set(key, encoded);
  return encoded;
}

const encodedKeys = new Map<string, string>();

function encodeObject(value: object): string {
  if (Array.isArray(value)) return `[${value.map(encodeValue).join(",")}]`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return encodeDocument(value as Document);
  if (value instanceof Date) return encodeDate(value);
  // The drivers' classes have their tag on the prototype; a document that merely has such a key was handled above.
  const tag = (value as { _bsontype?: unknown })._bsontype;
  return typeof tag === "string" ? encodeBson(tag, value) : encodeForeign(value);
}

function encodeDocument(document: Document): string {
  let text = "";
  for (const key of Object.keys(document)) {
    text += `${text === "" ? "" : ","}${encodeKey(key)}${encodeValue(document[key])}`;
  }
  return `{${text}}`;
}

function encodeDate(date: Date): string {
  return Number.isNaN(date.getTime()) ? "null" : `"${date.toISOString()}"`;
}

function encodeBson(tag: string, value: object): string {
  switch (tag) {
    case "ObjectId":
      return `"${(value as ObjectId).toHexString()}"`;
    case "Long": {
      const long = value as Long;
      const number = long.toNumber();
      return Number.isSafeInteger(number) ? `${number}` : `"${long.toString()}"`;
    }
    case "Int32":
    case "Double":
      return encodeValue(value.valueOf());
    case "Decimal128":
      return `"${(value as Decimal128).toString()}"`;
    case "Timestamp": {
      const timestamp = value as Timestamp;
      return `{"t":${timestamp.getHighBitsUnsigned()},"i":${timestamp.getLowBitsUnsigned()}}`;
    }
    case "Binary":
      return encodeBinary(value as Binary);
    case "BSONRegExp": {
      const { pattern, options } = value as { pattern: string; options: string };
      return JSON.stringify(`/${pattern}/${options}`);
    }
    case "Code": {
      const { code, scope } = value as Code;
      return scope === null || scope === undefined
        ? JSON.stringify(String(code))
        : `{"code":${JSON.stringify(String(code))},"scope":${encodeValue(scope)}}`;
    }
    case "BSONSymbol":
      return JSON.stringify((value as { value: string }).value);
    case "DBRef": {
      const { collection, oid, db, fields } = value as DBRef;
      return encodeDocument({ $ref: collection, $id: oid, ...(db ? { $db: db } : {}), ...fields });
    }
    case "MinKey":
    case "MaxKey":
      return `"${tag}"`;
    default:
      return encodeForeign(value);
  }
}

const uuidSubtype = 4;

function encodeBinary(binary: Binary): string {
  if (binary.sub_type === uuidSubtype && binary.length() === 16) {
    const hex = binary.toString("hex");
    return `"${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}"`;
  }
  return `"${binary.toString("base64")}"`;
}

/** What only an application's own representation can hold: typed arrays, classes, what JSON makes of them. */
function encodeForeign(value: object): string {
  if (value instanceof Uint8Array) return `"${Buffer.from(value).toString("base64")}"`;
  if (value instanceof RegExp) return JSON.stringify(String(value));
  return JSON.stringify(value) ?? "null";
}
