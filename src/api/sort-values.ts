import type { Document } from "mongodb";
import { documentOf } from "../filter/bson.js";
import { compareValues } from "../filter/compare.js";
import type { SortKey } from "../filter/sort.js";

/** What a document is sorted by: one value for each key of the sort, undefined standing for an empty array. */
export type SortValues = readonly unknown[];

/**
 * Finds what MongoDB sorts a document by. What is missing counts as null. An array gives one candidate for each of its
 * elements, and the candidate that comes first in the direction of the sort stands for the document: the least element
 * for an ascending key, the greatest for a descending one. Keys that go through one array go through it together.
 *
 * @param document - with the top-level fields of all keys whole
 */
export function sortValuesOf(document: Document, sort: readonly SortKey[]): SortValues {
  return firstOf(
    sort.map(([path]) => walk(document, path.split("."))),
    sort,
  );
}

/** @returns a negative number where `left` comes before `right` in the sort, a positive one where it comes after */
export function compareSortValues(left: SortValues, right: SortValues, sort: readonly SortKey[]): number {
  for (const [index, [, direction]] of sort.entries()) {
    const difference = compareValues(left[index], right[index]);
    if (difference !== 0) return difference * direction;
  }
  return 0;
}

/** What a key has come to: its value, or an array with the steps that are left inside each of its elements. */
type Reached = { readonly value: unknown } | { readonly array: readonly unknown[]; readonly steps: readonly string[] };

const nothing: Reached = { value: null };

function walk(from: unknown, steps: readonly string[]): Reached {
  let value = from;
  for (const [index, step] of steps.entries()) {
    if (Array.isArray(value)) return { array: value, steps: steps.slice(index) };
    const document = documentOf(value);
    if (document === undefined || !Object.hasOwn(document, step)) return nothing;
    value = document[step];
  }
  return Array.isArray(value) ? { array: value, steps: [] } : { value };
}

function firstOf(reached: readonly Reached[], sort: readonly SortKey[]): SortValues {
  const open = reached.find((each) => "array" in each);
  if (open === undefined || !("array" in open)) return reached.map((each) => ("value" in each ? each.value : null));
  const { array } = open;
  const enter = (each: Reached, element: (steps: readonly string[]) => Reached): Reached =>
    "array" in each && each.array === array ? element(each.steps) : each;
  if (array.length === 0) {
    return firstOf(
      reached.map((each) => enter(each, (steps) => (steps.length === 0 ? { value: undefined } : nothing))),
      sort,
    );
  }
  let first: SortValues | undefined;
  for (const element of array) {
    const candidate = firstOf(
      reached.map((each) => enter(each, (steps) => inside(element, steps))),
      sort,
    );
    if (first === undefined || compareSortValues(candidate, first, sort) < 0) first = candidate;
  }
  return first ?? [];
}

/** An array that is an element of another is a value of its own: MongoDB goes into one array for each name. */
function inside(element: unknown, steps: readonly string[]): Reached {
  if (steps.length === 0) return { value: element };
  return documentOf(element) === undefined ? nothing : walk(element, steps);
}
