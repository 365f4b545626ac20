import type { BSON } from "mongodb";
import { bsonTypeOf, typeOrder, typeOrderOf } from "./bson.js";
import { compareStrings, comparesByUnits, compareWithin, regExpOf, textOf } from "./compare.js";
import { compareNumbers, isNaNValue, plainNumberOf, truncatedTo64Bits } from "./numbers.js";
import type { RegexTest } from "./regex.js";
import { promotedNumberTypes } from "./types.js";
import { missing, type ValueTest } from "./walk.js";

/** Where MongoDB's own answer depends on its version. */
export interface MatchOptions {
  /**
   * Whether null equals the deprecated type undefined: true up to MongoDB 7, false from 8.0 on.
   * https://www.mongodb.com/docs/manual/release-notes/8.0-compatibility/
   */
  readonly undefinedEqualsNull?: boolean;
}

const nothing: ValueTest = () => false;

/** @returns a test for values equal to `constant`; null also equals what is missing */
export function equals(constant: unknown, options: MatchOptions): ValueTest {
  if (constant === null) {
    if (options.undefinedEqualsNull !== true) return (value) => value === null || value === missing;
    return (value) => value === null || value === missing || value === undefined;
  }
  if (typeof constant === "string") {
    return (value) => value === constant || (isSymbol(value) && textOf(value) === constant);
  }
  if (typeof constant === "boolean") return (value) => value === constant;
  const order = typeOrderOf(constant);
  if (order === typeOrder.number) return equalsNumber(constant);
  if (constant instanceof Date) {
    const time = constant.getTime();
    return (value) => value instanceof Date && value.getTime() === time;
  }
  return (value) =>
    typeof value === "object" &&
    value !== null &&
    typeOrderOf(value) === order &&
    compareWithin(order, value, constant) === 0;
}

/** @returns a test for values on one side of `constant`, and of its type */
export function isOrdered(op: "$gt" | "$gte" | "$lt" | "$lte", constant: unknown, options: MatchOptions): ValueTest {
  const orEqual = op === "$gte" || op === "$lte";
  if (constant === null) return orEqual ? equals(null, options) : nothing;
  const order = typeOrderOf(constant);
  if (order === typeOrder.minKey || order === typeOrder.maxKey) return besideKey(op, order);
  if (order === typeOrder.number) return orderedNumber(op, constant);
  const test = sideTest(op);
  if (typeof constant === "string") return orderedString(op, constant);
  if (constant instanceof Date) {
    const time = constant.getTime();
    return (value) => value instanceof Date && test(value.getTime() - time);
  }
  return (value) => typeOrderOf(value) === order && test(compareWithin(order, value, constant));
}

/** @returns a test for values that equal one of `constants`, or that one of `regexes` matches */
export function isOneOf(
  constants: readonly unknown[],
  regexes: readonly ValueTest[],
  options: MatchOptions,
): ValueTest {
  const strings = new Set<unknown>();
  const numbers = new Set<unknown>();
  const ids = new Set<string>();
  const others: ValueTest[] = [...regexes];
  for (const constant of constants) {
    const number = plainNumberOf(constant);
    if (typeof constant === "string") strings.add(constant);
    else if (constant !== null && typeof constant === "object" && bsonTypeOf(constant) === "ObjectId") {
      ids.add((constant as BSON.ObjectId).toHexString());
    } else if (typeof number === "number") numbers.add(number);
    else others.push(equals(constant, options));
  }
  return (value) => {
    if (typeof value === "string") {
      if (strings.has(value)) return true;
    } else if (typeof value === "number") {
      if (numbers.has(value)) return true;
    } else if (isOneOfUnusual(value, strings, numbers, ids)) return true;
    for (const other of others) if (other(value)) return true;
    return false;
  };
}

function isOneOfUnusual(
  value: unknown,
  strings: ReadonlySet<unknown>,
  numbers: ReadonlySet<unknown>,
  ids: ReadonlySet<string>,
): boolean {
  if (typeof value === "bigint") return numbers.has(plainOrSelf(value));
  if (typeof value !== "object" || value === null) return false;
  const type = bsonTypeOf(value);
  if (type === "ObjectId") return ids.size > 0 && ids.has((value as BSON.ObjectId).toHexString());
  if (type === "BSONSymbol") return strings.has(textOf(value));
  if (type === undefined || typeOrderOf(value) !== typeOrder.number) return false;
  if (type !== "Decimal128") return numbers.has(plainOrSelf(plainNumberOf(value)));
  for (const number of numbers) if (compareNumbers(value, number) === 0) return true;
  return false;
}

/** A bigint as a number where it has that very value: a set holds them apart. */
function plainOrSelf(value: number | bigint | undefined): number | bigint | undefined {
  if (typeof value !== "bigint") return value;
  const near = Number(value);
  return BigInt(near) === value ? near : value;
}

/** @returns a test for texts that `test` matches, and for regular expressions that are the same */
export function matchesRegex(pattern: string, options: string, test: RegexTest): ValueTest {
  return (value) => {
    if (typeof value === "string") return test(value);
    if (typeof value !== "object" || value === null) return false;
    if (isSymbol(value)) return test(textOf(value));
    if (typeOrderOf(value) !== typeOrder.regex) return false;
    const other = regExpOf(value);
    return other.pattern === pattern && other.options === options;
  };
}

/** @returns a test for numbers with that remainder, after their fraction is cut off */
export function hasRemainder(divisor: number, remainder: number): ValueTest {
  const wideDivisor = BigInt(divisor);
  return (value) => {
    if (typeof value === "number") {
      // Doubles of 2^63 and more have no 64-bit form, and the server matches none of them.
      return value >= -(2 ** 63) && value < 2 ** 63 && Math.trunc(value) % divisor === remainder;
    }
    if (typeof value !== "object" && typeof value !== "bigint") return false;
    if (typeOrderOf(value) !== typeOrder.number) return false;
    const integer = truncatedTo64Bits(value);
    return integer !== undefined && Number(integer % wideDivisor) === remainder;
  };
}

/** @returns a test for values of one of the BSON types named */
export function hasType(types: readonly string[]): ValueTest {
  const wanted: ReadonlySet<string | undefined> = new Set(types);
  const anyNumber = promotedNumberTypes.every((type) => wanted.has(type));
  return (value) => (typeof value === "number" && anyNumber) || wanted.has(typeNameOf(value));
}

function equalsNumber(constant: unknown): ValueTest {
  const number = plainNumberOf(constant);
  const slow: ValueTest = (value) => typeOrderOf(value) === typeOrder.number && compareNumbers(value, constant) === 0;
  if (typeof number !== "number" || Number.isNaN(number)) return slow;
  return (value) => value === number || (typeof value !== "number" && slow(value));
}

function orderedNumber(op: "$gt" | "$gte" | "$lt" | "$lte", constant: unknown): ValueTest {
  const side = sideTest(op);
  const constantIsNaN = isNaNValue(constant);
  const slow: ValueTest = (value) => {
    if (typeOrderOf(value) !== typeOrder.number) return false;
    // NaN is ordered with no number, and equal to itself.
    const valueIsNaN = isNaNValue(value);
    if (valueIsNaN || constantIsNaN) return valueIsNaN && constantIsNaN && side(0);
    return side(compareNumbers(value, constant));
  };
  const number = plainNumberOf(constant);
  if (typeof number !== "number" || constantIsNaN) return slow;
  switch (op) {
    case "$gt":
      return (value) => (typeof value === "number" ? value > number : slow(value));
    case "$gte":
      return (value) => (typeof value === "number" ? value >= number : slow(value));
    case "$lt":
      return (value) => (typeof value === "number" ? value < number : slow(value));
    case "$lte":
      return (value) => (typeof value === "number" ? value <= number : slow(value));
  }
}

function orderedString(op: "$gt" | "$gte" | "$lt" | "$lte", constant: string): ValueTest {
  const side = sideTest(op);
  if (!comparesByUnits(constant)) {
    return (value) => (typeof value === "string" || isSymbol(value)) && side(compareStrings(textOf(value), constant));
  }
  return (value) => {
    if (typeof value === "string") return side(value < constant ? -1 : value === constant ? 0 : 1);
    return isSymbol(value) && side(compareStrings(textOf(value), constant));
  };
}

function sideTest(op: "$gt" | "$gte" | "$lt" | "$lte"): (comparison: number) => boolean {
  switch (op) {
    case "$gt":
      return (comparison) => comparison > 0;
    case "$gte":
      return (comparison) => comparison >= 0;
    case "$lt":
      return (comparison) => comparison < 0;
    case "$lte":
      return (comparison) => comparison <= 0;
  }
}

/** MinKey and MaxKey alone are compared with values of every type, and with what is missing. */
function besideKey(op: "$gt" | "$gte" | "$lt" | "$lte", order: number): ValueTest {
  const orEqual = op === "$gte" || op === "$lte";
  const others = op === "$gt" || op === "$gte" ? order === typeOrder.minKey : order === typeOrder.maxKey;
  return (value) => (typeOrderOf(value) === order ? orEqual : others);
}

function isSymbol(value: unknown): boolean {
  return typeof value === "object" && value !== null && bsonTypeOf(value) === "BSONSymbol";
}

const typeNames: ReadonlyMap<number, string> = new Map<number, string>([
  [typeOrder.minKey, "minKey"],
  [typeOrder.null, "null"],
  [typeOrder.string, "string"],
  [typeOrder.document, "object"],
  [typeOrder.array, "array"],
  [typeOrder.binary, "binData"],
  [typeOrder.objectId, "objectId"],
  [typeOrder.boolean, "bool"],
  [typeOrder.date, "date"],
  [typeOrder.timestamp, "timestamp"],
  [typeOrder.regex, "regex"],
  [typeOrder.code, "javascript"],
  [typeOrder.codeWithScope, "javascriptWithScope"],
  [typeOrder.maxKey, "maxKey"],
]);

const numberNames: ReadonlyMap<string, string> = new Map([
  ["Int32", "int"],
  ["Long", "long"],
  ["Double", "double"],
  ["Decimal128", "decimal"],
]);

function typeNameOf(value: unknown): string | undefined {
  if (value === missing) return undefined;
  if (value === undefined) return "undefined";
  if (typeof value === "bigint") return "long";
  // How the driver itself would write a plain number; where it promotes, the filter asks for all of them.
  if (typeof value === "number") return (value | 0) === value && !Object.is(value, -0) ? "int" : "double";
  if (typeof value === "object" && value !== null) {
    const type = bsonTypeOf(value);
    if (type === "BSONSymbol") return "symbol";
    const numberName = type === undefined ? undefined : numberNames.get(type);
    if (numberName !== undefined) return numberName;
  }
  return typeNames.get(typeOrderOf(value));
}
