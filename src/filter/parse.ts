import { RequestError } from "../errors.js";
import { type Expression, type Filter, filterOf, junction } from "./expression.js";
import { jsonErrorPosition } from "./json-position.js";
import { checkLength, checkSize, filterLimits, isPlainObject } from "./limits.js";
import {
  comparisonTerm,
  count,
  isOperators,
  junctions,
  notSupported,
  type Place,
  type Reading,
  readOperators,
  regexTerm,
} from "./operators.js";
import { checkAllowed, checkPath, databasePathOf } from "./paths.js";
import { bad, isRegExp, readValue } from "./values.js";

export type { Expression, Filter } from "./expression.js";
export { combineFilters } from "./expression.js";
export { parseSort, type SortKey } from "./sort.js";

export interface ParseFilterOptions {
  /**
   * The paths that may be named, in public names: each stands for itself and all below it. `id` is always allowed.
   * Undefined for filters of the configuration, which may name every path.
   */
  readonly allowedPaths?: readonly string[];
  /**
   * Whether the documents to match are read without promotion of numbers (`promoteValues: false`), so that `$type` can
   * tell int, long and double apart. Default: false, and a filter that needs it is refused.
   */
  readonly exactNumberTypes?: boolean;
}

/**
 * Checks a filter and brings it into normal form.
 *
 * The values are JSON, Extended JSON (relaxed or canonical) or, in a configuration, instances of BSON classes. On the
 * path `id` a string of 24 hexadecimal digits stands for the string and for the ObjectId of that text, for this is how
 * an API of JSON shows an ObjectId: `$eq`, `$in`, `$ne` and `$nin` look for both. Other operators compare with exactly
 * what they are given: `{"id": {"$gt": {"$oid": "…"}}}`.
 *
 * @param input - the filter as parsed JSON
 * @throws RequestError 400 `bad-filter`, `filter-too-deep`, `filter-too-large`, `operator-not-supported` or
 *   `path-not-filterable`
 */
export function parseFilter(input: unknown, options: ParseFilterOptions = {}): Filter {
  checkSize(input);
  const { allowedPaths, exactNumberTypes = false } = options;
  const reading: Reading = { allowedPaths, exactNumberTypes, readConditions, terms: 0, regexes: 0 };
  return filterOf(readConditions(input, "filter", "", reading));
}

/**
 * Parses a filter out of a query string.
 *
 * @throws RequestError as {@link parseFilter}, and `bad-filter` with the position where the text is not JSON
 */
export function parseFilterText(text: string, options: ParseFilterOptions = {}): Filter {
  checkLength("a text", text.length, filterLimits.text);
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    const position = jsonErrorPosition(text);
    throw new RequestError(
      400,
      "bad-filter",
      `The filter is not JSON: the error is at character ${position}.`,
      { position },
      { cause: error },
    );
  }
  return parseFilter(input, options);
}

function readConditions(input: unknown, at: string, prefix: string, reading: Reading): Expression {
  if (!isPlainObject(input)) throw bad(at, 'an object with conditions is expected, such as {"state": "running"}.');
  const conditions: Expression[] = [];
  for (const [key, value] of Object.entries(input)) {
    const here = `${at}.${key}`;
    if (junctions.has(key)) conditions.push(readJunction(key as "$and" | "$or" | "$nor", value, here, prefix, reading));
    else if (key.startsWith("$")) throw notSupported(key, at, "Here can stand paths, $and, $or and $nor.");
    else conditions.push(readField(key, value, here, prefix, reading));
  }
  return junction("$and", conditions);
}

function readJunction(
  op: "$and" | "$or" | "$nor",
  input: unknown,
  at: string,
  prefix: string,
  reading: Reading,
): Expression {
  count(reading);
  if (!Array.isArray(input) || input.length === 0) throw bad(at, `${op} takes a list of at least one filter.`);
  return junction(
    op,
    input.map((each, index) => readConditions(each, `${at}[${index}]`, prefix, reading)),
  );
}

function readField(name: string, input: unknown, at: string, prefix: string, reading: Reading): Expression {
  checkPath(name, at, "bad-filter");
  const fullPath = prefix === "" ? name : `${prefix}.${name}`;
  const place: Place = { path: prefix === "" ? databasePathOf(name) : name, fullPath, at };
  if (isOperators(input)) return junction("$and", readOperators(input, place, reading));
  checkAllowed(fullPath, at, reading.allowedPaths);
  count(reading);
  const value = readValue(input, at);
  if (isRegExp(value)) return regexTerm(place, value.pattern, value.options, reading);
  return comparisonTerm("$eq", value, place, reading);
}
