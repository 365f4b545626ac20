import type { Document } from "mongodb";
import { typeOrder, typeOrderOf } from "../filter/bson.js";
import { isPlainObject } from "../filter/limits.js";
import type { SortKey } from "../filter/sort.js";
import type { SortValues } from "./sort-values.js";

/*
 * The rows after a given row, as queries. MongoDB's `$gt` compares only within one type ("type bracketing"), while its
 * sort puts the types one after another, so that a row's successors are those of its own bracket and those of later ones.
 * The two are queries of their own: the first has simple bounds for an index, and the second is only needed at the end
 * of a bracket.
 *
 * A path through an array matches where any element does, but sorts by the first of them. So the queries find all
 * successors, and around arrays some rows before; who reads them drops those by comparing.
 */

/** A range of values that sort together and that comparisons stay within. */
interface Bracket {
  /** Names for `$type`. */
  readonly types?: readonly string[];
  /** Finds its documents where `$type` can't. */
  readonly find?: (path: string) => Document[];
  /** Whether all of its values are equal. */
  readonly single?: true;
  /** Whether the server can compare with a value of it. */
  readonly ranged?: true;
}

const ranged = (...types: string[]): Bracket => ({ types, ranged: true });

/** In the order of the sort. NaN is before all numbers, and equal to itself alone in comparisons. */
const brackets: readonly (readonly [order: number, bracket: Bracket])[] = [
  [typeOrder.minKey, { types: ["minKey"], single: true }],
  [typeOrder.undefined, { types: ["undefined"], find: (path) => [{ [path]: { $size: 0 } }], single: true }],
  // A path that ends at an array of other values than documents counts as null, and equals nothing.
  [
    typeOrder.null,
    {
      find: (path) => [
        { [path]: { $eq: null } },
        ...ancestorsOf(path).map((ancestor) => ({ [ancestor]: { $type: "array" } })),
      ],
      single: true,
    },
  ],
  [typeOrder.number - 0.5, { find: (path) => [{ [path]: { $eq: Number.NaN } }], single: true }],
  [typeOrder.number, { find: (path) => [{ [path]: { $gte: Number.NEGATIVE_INFINITY } }], ranged: true }],
  [typeOrder.string, ranged("string", "symbol")],
  [typeOrder.document, ranged("object", "dbPointer")],
  [typeOrder.array, { types: ["array"] }],
  [typeOrder.binary, ranged("binData")],
  [typeOrder.objectId, ranged("objectId")],
  [typeOrder.boolean, ranged("bool")],
  [typeOrder.date, ranged("date")],
  [typeOrder.timestamp, ranged("timestamp")],
  [typeOrder.regex, { types: ["regex"] }],
  [typeOrder.code, { types: ["javascript"] }],
  [typeOrder.codeWithScope, { types: ["javascriptWithScope"] }],
  [typeOrder.maxKey, { types: ["maxKey"], single: true }],
];

/** A query that finds rows after another, and some that are not. */
export interface Successors {
  readonly query: Document;
  /** Where a row stands that is not for this query but for the next, together with all rows that sort after it. */
  isBeyond(values: SortValues): boolean;
}

/**
 * @param sort - of which the last key is `_id`
 * @param values - of the row to begin after
 * @returns queries to be run one after another, each sorted by `sort`; together they find every row after it
 */
export function queriesAfter(sort: readonly SortKey[], values: SortValues): Successors[] {
  const [first, ...rest] = sort.map(([path, direction], index) => boundOf(path, direction, values[index]));
  if (first === undefined) return [];
  const following = [...first.beyond, ...successors(rest)];
  const direction = sort[0]?.[1] ?? 1;
  const order = orderOf(values[0]);
  const queries: Successors[] = [];
  if (following.length > 0) {
    queries.push({
      query: all([first.within, any(following), ...first.notBefore]),
      isBeyond: (others) => (orderOf(others[0]) - order) * direction > 0,
    });
  }
  if (first.later.length > 0) {
    queries.push({ query: all([any(first.later), ...first.notHere]), isBeyond: () => false });
  }
  return queries;
}

/** @returns whether a value comes back from the driver as it was stored, so that comparing with it is exact */
export function isFaithful(value: unknown): boolean {
  if (value instanceof Date) return !Number.isNaN(value.getTime());
  if (Array.isArray(value)) return value.every((each) => each !== undefined && isFaithful(each));
  if (!isPlainObject(value)) return true;
  // JavaScript moves such keys to the front, and the order of keys counts.
  return Object.entries(value).every(
    ([key, each]) => !/^(?:0|[1-9]\d*)$/.test(key) && each !== undefined && isFaithful(each),
  );
}

/** Where a value stands under one key, as conditions: each list is to be joined by `$or`. */
interface Bound {
  /** In the value's bracket, equal or after it. */
  readonly within: Document;
  /** In its bracket, after it. */
  readonly beyond: readonly Document[];
  /** In a later bracket. */
  readonly later: readonly Document[];
  /** Leaves out arrays of which an element is before the value. Only for the first key: see {@link queriesAfter}. */
  readonly notBefore: readonly Document[];
  /** Leaves out arrays of which an element is in the value's bracket or before it. */
  readonly notHere: readonly Document[];
}

function boundOf(path: string, direction: 1 | -1, value: unknown): Bound {
  const ordered = direction === 1 ? brackets : [...brackets].reverse();
  const order = orderOf(value);
  const place = ordered.findIndex(([each]) => each === order);
  const bracket = ordered[place]?.[1] ?? {};
  const here = any(conditionsOf(path, [bracket]));
  const later = conditionsOf(
    path,
    ordered.slice(place + 1).map(([, each]) => each),
  );
  const passed = ordered
    .slice(0, place + 1)
    .map(([, each]) => each)
    .filter((each) => each.ranged === true);
  // An `_id` is never an array.
  const notHere = path === "_id" || passed.length === 0 ? [] : [{ $nor: conditionsOf(path, passed) }];
  if (bracket.single === true) return { within: here, beyond: [], later, notBefore: [], notHere };
  if (bracket.ranged !== true) return { within: here, beyond: [here], later, notBefore: [], notHere };
  const [orAfter, after, before] = direction === 1 ? ["$gte", "$gt", "$lt"] : ["$lte", "$lt", "$gt"];
  return {
    within: { [path]: { [orAfter as string]: value } },
    beyond: [{ [path]: { [after as string]: value } }],
    later,
    notBefore: path === "_id" ? [] : [{ $nor: [{ [path]: { [before as string]: value } }] }],
    notHere,
  };
}

/** @returns what finds the rows after the values of these keys */
function successors(bounds: readonly Bound[]): Document[] {
  const [first, ...rest] = bounds;
  if (first === undefined) return [];
  const equal = successors(rest);
  return [...first.beyond, ...first.later, ...(equal.length === 0 ? [] : [all([first.within, any(equal)])])];
}

function orderOf(value: unknown): number {
  const order = typeOrderOf(value);
  return order === typeOrder.number && Number.isNaN(Number(String(value))) ? order - 0.5 : order;
}

function conditionsOf(path: string, some: readonly Bracket[]): Document[] {
  const types = some.flatMap((bracket) => bracket.types ?? []);
  const found = some.flatMap((bracket) => bracket.find?.(path) ?? []);
  return types.length === 0 ? found : [{ [path]: { $type: types } }, ...found];
}

function ancestorsOf(path: string): string[] {
  const steps = path.split(".");
  return steps.slice(1).map((_, index) => steps.slice(0, index + 1).join("."));
}

function any(conditions: readonly Document[]): Document {
  const [only] = conditions;
  return only !== undefined && conditions.length === 1 ? only : { $or: conditions };
}

function all(conditions: readonly Document[]): Document {
  const [only] = conditions;
  return only !== undefined && conditions.length === 1 ? only : { $and: conditions };
}
