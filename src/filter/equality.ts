import type { BSON, Document } from "mongodb";
import { typeOrder, typeOrderOf } from "./bson.js";
import { binaryOf, textOf } from "./compare.js";
import { type Expression, type Filter, filterOf, junction } from "./expression.js";
import { numberKey } from "./numbers.js";
import { isRegExp } from "./values.js";
import { testAt } from "./walk.js";

/** One condition of a filter that a hash table can answer, and the rest of the filter. */
export interface Equality {
  /** As the database names it. */
  readonly path: string;
  /** A document matches the condition exactly where the path yields a value equal to one of these. */
  readonly values: readonly unknown[];
  readonly rest: Filter;
}

/**
 * Takes one condition `$eq` or `$in` out of a filter, for an index of views. The condition with the fewest values is
 * taken, and one with true or false only where there is no other, as half of all documents have it.
 *
 * @returns undefined where no condition can be looked up: null also matches what is missing, and documents, arrays and
 *   regular expressions are no scalars
 */
export function equalityOf(filter: Filter): Equality | undefined {
  const { expression } = filter;
  const conditions = "of" in expression && expression.op === "$and" ? expression.of : [expression];
  let best: { condition: Expression; path: string; values: readonly unknown[]; cost: number } | undefined;
  for (const condition of conditions) {
    const values = valuesOf(condition);
    if (values === undefined || "of" in condition) continue;
    const cost = values.length + (values.some((value) => typeof value === "boolean") ? 1_000 : 0);
    if (best === undefined || cost < best.cost) best = { condition, path: condition.path, values, cost };
  }
  if (best === undefined) return undefined;
  const { condition, path, values } = best;
  const rest = conditions.filter((each) => each !== condition);
  return { path, values, rest: filterOf(junction("$and", rest)) };
}

/**
 * @param value - a scalar, as the driver reads it or as a filter has it
 * @returns a text that is the same for two values exactly where MongoDB finds them equal; undefined for null, what is
 *   missing, documents, arrays and regular expressions
 */
export function indexKey(value: unknown): string | undefined {
  if (typeof value === "string") return `s${value}`;
  switch (typeOrderOf(value)) {
    case typeOrder.string:
      return `s${textOf(value)}`;
    case typeOrder.number:
      return `n${numberKey(value)}`;
    case typeOrder.boolean:
      return value === true ? "b1" : "b0";
    case typeOrder.date:
      return Number.isNaN((value as Date).getTime()) ? undefined : `d${(value as Date).getTime()}`;
    case typeOrder.objectId:
      return `o${(value as BSON.ObjectId).toHexString()}`;
    case typeOrder.timestamp:
      return `t${(value as BSON.Timestamp).t}:${(value as BSON.Timestamp).i}`;
    case typeOrder.binary: {
      const { bytes, subtype } = binaryOf(value);
      return `y${subtype}:${Buffer.from(bytes).toString("base64")}`;
    }
    default:
      return undefined;
  }
}

/**
 * Makes the other side of the look-up.
 *
 * @param path - the path of an {@link Equality}
 * @returns a function that gives the keys of all values that the path yields in a document, arrays and their elements
 *   included; a key can come twice
 */
export function indexKeysAt(path: string): (document: Document) => readonly string[] {
  let keys: string[] = [];
  const collect = testAt(
    path,
    (value) => {
      const key = typeof value === "symbol" ? undefined : indexKey(value);
      if (key !== undefined) keys.push(key);
      return false;
    },
    true,
  );
  return (document) => {
    keys = [];
    collect(document);
    return keys;
  };
}

function valuesOf(condition: Expression): readonly unknown[] | undefined {
  if ("of" in condition) return undefined;
  const values = condition.op === "$eq" ? [condition.value] : condition.op === "$in" ? condition.values : [];
  const all = values.length > 0 && values.every((value) => !isRegExp(value) && indexKey(value) !== undefined);
  return all ? values : undefined;
}
