import { BSON } from "mongodb";
import { RequestError } from "../errors.js";
import { isPlainObject } from "./limits.js";
import { faultOfKey } from "./paths.js";

const { BSONRegExp, Binary, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp, UUID } = BSON;

/** The BSON classes whose instances configured filters may hold beside plain values. */
const scalarClasses: ReadonlySet<string> = new Set([
  ...["Binary", "BSONRegExp", "Decimal128", "Double", "Int32", "Long", "MaxKey", "MinKey", "ObjectId", "Timestamp"],
]);

type Reader = (content: unknown, wrapper: Record<string, unknown>) => unknown;

/** Extended JSON's wrappers. A reader returns undefined where the content is not of the wrapper's form. */
const wrappers: ReadonlyMap<string, { readonly form: string; readonly read: Reader }> = new Map<
  string,
  { form: string; read: Reader }
>([
  ["$oid", { form: '{"$oid": "24 hexadecimal digits"}', read: readObjectId }],
  [
    "$date",
    { form: '{"$date": "2026-01-31T12:00:00Z"} or {"$date": {"$numberLong": "milliseconds"}}', read: readDate },
  ],
  ["$numberInt", { form: '{"$numberInt": "32-bit integer"}', read: readInt }],
  ["$numberLong", { form: '{"$numberLong": "64-bit integer"}', read: readLong }],
  ["$numberDouble", { form: '{"$numberDouble": "1.5", "NaN", "Infinity" or "-Infinity"}', read: readDouble }],
  ["$numberDecimal", { form: '{"$numberDecimal": "12.34"}', read: readDecimal }],
  ["$uuid", { form: '{"$uuid": "8-4-4-4-12 hexadecimal digits"}', read: readUuid }],
  ["$binary", { form: '{"$binary": {"base64": "…", "subType": "00"}}', read: readBinary }],
  ["$timestamp", { form: '{"$timestamp": {"t": seconds, "i": increment}}', read: readTimestamp }],
  ["$minKey", { form: '{"$minKey": 1}', read: (content) => (content === 1 ? new MinKey() : undefined) }],
  ["$maxKey", { form: '{"$maxKey": 1}', read: (content) => (content === 1 ? new MaxKey() : undefined) }],
  [
    "$regularExpression",
    { form: '{"$regularExpression": {"pattern": "…", "options": "i"}}', read: readRegularExpression },
  ],
]);

/** BSON types that no filter may compare with, and why. */
const refusedWrappers: ReadonlyMap<string, string> = new Map([
  ["$undefined", "MongoDB refuses to compare with undefined; use $exists or null"],
  ["$code", "code is not a value that can be compared"],
  ["$symbol", "symbols are read as strings; write a string"],
  ["$dbPointer", "this type is deprecated"],
  ["$ref", "database references can't be compared"],
]);

/** @returns whether `value` is Extended JSON for one BSON value, such as `{"$oid": …}`, well formed or not */
export function isWrapper(value: Record<string, unknown>): boolean {
  const [key] = Object.keys(value);
  return key !== undefined && (wrappers.has(key) || refusedWrappers.has(key));
}

/** @returns whether `value` is a regular expression of a class, as it is after {@link readValue} */
export function isRegExp(value: unknown): value is BSON.BSONRegExp {
  return value instanceof BSONRegExp;
}

/**
 * Reads the value that a condition compares with: JSON, Extended JSON, or what a program puts in a configured filter.
 *
 * @param input - the value; its depth has been checked
 * @param at - where in the filter it stands, for the message
 * @returns plain values and instances of BSON classes; regular expressions always as `BSONRegExp`
 * @throws RequestError `bad-filter`, or `operator-not-supported` for an operator in the place of a value
 */
export function readValue(input: unknown, at: string): unknown {
  switch (typeof input) {
    case "boolean":
      return input;
    case "string":
      return readString(input, at);
    case "number":
      return readNumber(input, at);
    case "bigint":
      if (BigInt.asIntN(64, input) !== input) throw bad(at, "integers have 64 bits at most.");
      return Long.fromBigInt(input);
    case "object":
      return input === null ? null : readObject(input, at);
    default:
      throw bad(at, `a value of type ${typeof input} can't be compared with.`);
  }
}

/** @returns the error for a filter that is malformed at `at` */
export function bad(at: string, message: string): RequestError {
  return new RequestError(400, "bad-filter", `At ${at}: ${message}`, { at });
}

function readString(text: string, at: string): string {
  // MongoDB stores UTF-8, which has no form for half of a surrogate pair.
  if (/\p{Surrogate}/u.test(text)) throw bad(at, "the string is not well-formed Unicode.");
  return text;
}

function readNumber(value: number, at: string): number {
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw bad(
      at,
      `integers beyond ±9007199254740991 may have been rounded; write {"$numberLong": "…"}, or {"$numberDouble": "…"} if you mean a double.`,
    );
  }
  return value;
}

function readObject(input: object, at: string): unknown {
  if (Array.isArray(input)) return input.map((each, index) => readValue(each, `${at}[${index}]`));
  if (isPlainObject(input)) return isWrapper(input) ? readWrapper(input, at) : readDocument(input, at);
  if (input instanceof Date) {
    if (Number.isNaN(input.getTime())) throw bad(at, "the date is not valid.");
    return input;
  }
  if (input instanceof RegExp) return regExpOf(input, at);
  if (input instanceof Uint8Array) return new Binary(input);
  const bsonType = "_bsontype" in input ? input._bsontype : undefined;
  if (typeof bsonType === "string" && scalarClasses.has(bsonType)) return input;
  throw bad(at, "this value has no BSON type that a filter can compare with.");
}

function readDocument(input: Record<string, unknown>, at: string): Record<string, unknown> {
  const document: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(input)) {
    const fault = faultOfKey(key);
    if (fault !== undefined) {
      if (key.startsWith("$")) {
        throw new RequestError(
          400,
          "operator-not-supported",
          `At ${at}: the operator ${JSON.stringify(key)} stands inside a value. Name the field by its dotted path, outside of the sub-document.`,
          { at },
        );
      }
      throw bad(at, fault);
    }
    // The order of a sub-document's keys counts in MongoDB, and JavaScript moves keys like "7" to the front.
    if (/^(?:0|[1-9]\d*)$/.test(key)) {
      throw bad(
        `${at}.${key}`,
        "a sub-document with a number as a key can't be compared; name the field by its dotted path.",
      );
    }
    document[key] = readValue(value, `${at}.${key}`);
  }
  return document;
}

function readWrapper(input: Record<string, unknown>, at: string): unknown {
  const [name = ""] = Object.keys(input);
  const refused = refusedWrappers.get(name);
  if (refused !== undefined) throw bad(at, `${name}: ${refused}.`);
  const wrapper = wrappers.get(name);
  const value = Object.keys(input).length === 1 ? wrapper?.read(input[name], input) : undefined;
  if (value === undefined) throw bad(at, `malformed Extended JSON; the form is ${wrapper?.form ?? "unknown"}.`);
  return value;
}

function readObjectId(content: unknown): unknown {
  return typeof content === "string" && /^[0-9a-f]{24}$/i.test(content) ? new ObjectId(content) : undefined;
}

function readDate(content: unknown): unknown {
  let milliseconds = Number.NaN;
  if (typeof content === "string") {
    const iso = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d))?$/;
    if (iso.test(content)) milliseconds = Date.parse(content);
  } else if (isPlainObject(content) && Object.keys(content).join() === "$numberLong") {
    const long = readLong(content.$numberLong);
    if (long instanceof Long) milliseconds = long.toNumber();
  }
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

function readInt(content: unknown): unknown {
  if (typeof content !== "string" || !/^-?\d{1,10}$/.test(content)) return undefined;
  const value = Number(content);
  return (value | 0) === value || Object.is(value, -0) ? new Int32(value | 0) : undefined;
}

function readLong(content: unknown): unknown {
  if (typeof content !== "string" || !/^-?\d{1,19}$/.test(content)) return undefined;
  const value = BigInt(content);
  return BigInt.asIntN(64, value) === value ? Long.fromBigInt(value) : undefined;
}

function readDouble(content: unknown): unknown {
  if (typeof content !== "string") return undefined;
  const known = /^(?:NaN|-?Infinity|-?\d+(?:\.\d*)?(?:e[+-]?\d+)?)$/i;
  return known.test(content) ? new Double(Number(content)) : undefined;
}

function readDecimal(content: unknown): unknown {
  if (typeof content !== "string") return undefined;
  try {
    return Decimal128.fromString(content);
  } catch {
    // The class refuses what is no decimal of 34 digits; the caller says what the form is.
    return undefined;
  }
}

function readUuid(content: unknown): unknown {
  const form = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
  return typeof content === "string" && form.test(content) ? new UUID(content) : undefined;
}

function readBinary(content: unknown): unknown {
  if (!isPlainObject(content) || Object.keys(content).sort().join() !== "base64,subType") return undefined;
  const { base64, subType } = content;
  if (typeof base64 !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || base64.length % 4 !== 0) return undefined;
  if (typeof subType !== "string" || !/^[0-9a-f]{1,2}$/i.test(subType)) return undefined;
  return new Binary(Buffer.from(base64, "base64"), Number.parseInt(subType, 16));
}

function readTimestamp(content: unknown): unknown {
  if (!isPlainObject(content) || Object.keys(content).sort().join() !== "i,t") return undefined;
  const { t, i } = content;
  return isUint32(t) && isUint32(i) ? new Timestamp({ t, i }) : undefined;
}

function readRegularExpression(content: unknown): unknown {
  if (!isPlainObject(content) || Object.keys(content).sort().join() !== "options,pattern") return undefined;
  const { pattern, options } = content;
  if (typeof pattern !== "string" || typeof options !== "string" || /\0/.test(pattern + options)) return undefined;
  return new BSONRegExp(pattern, options);
}

function regExpOf(input: RegExp, at: string): BSON.BSONRegExp {
  if (!/^[ims]*$/.test(input.flags)) throw bad(at, "a regular expression can have the flags i, m and s.");
  // JavaScript escapes slashes in `source`, and PCRE takes an escaped slash for a slash.
  return new BSONRegExp(input.source === "(?:)" ? "" : input.source, input.flags);
}

function isUint32(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}
