import type { Document } from "mongodb";
import { BSON } from "mongodb";

/** A comparison of what a path yields with one value. */
export type Comparison = "$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte";

type TermBody =
  | { readonly op: Comparison; readonly value: unknown }
  | { readonly op: "$in" | "$nin"; readonly values: readonly unknown[] }
  | { readonly op: "$all"; readonly values: readonly unknown[]; readonly elements: readonly Term[] }
  | { readonly op: "$exists"; readonly value: boolean }
  | { readonly op: "$size"; readonly value: number }
  | { readonly op: "$type"; readonly types: readonly string[] }
  | { readonly op: "$mod"; readonly divisor: number; readonly remainder: number }
  | { readonly op: "$regex"; readonly pattern: string; readonly options: string }
  | { readonly op: "$not"; readonly terms: readonly Term[] }
  | { readonly op: "$elemMatch"; readonly document: Expression }
  | { readonly op: "$elemMatch"; readonly terms: readonly Term[] };

/** One operator on one path. Inside an `$elemMatch` on values the path is the empty string: the element itself. */
export type Term = TermBody & {
  readonly path: string;
  /** The operator and its operand as the server takes them, such as `{ $gt: 5 }`. */
  readonly operators: Document;
  /** Canonical EJSON of the whole term. */
  readonly text: string;
};

/** Conditions joined by a logical operator. An `$and` of nothing is true for every document. */
export interface Junction {
  readonly op: "$and" | "$or" | "$nor";
  readonly of: readonly Expression[];
  readonly text: string;
}

export type Expression = Term | Junction;

/** A checked filter in normal form. */
export interface Filter {
  /** Canonical EJSON: filters that say the same in another order of their conditions have the same text. */
  readonly canonical: string;
  /** The filter for the driver's `find`, with `id` renamed to `_id`. */
  readonly query: Document;
  /** Every path that the filter reads, as the database names them (`_id`, not `id`), sorted. */
  readonly paths: readonly string[];
  /** The conditions, for the compiler. */
  readonly expression: Expression;
}

/** @returns `expression` as a filter */
export function filterOf(expression: Expression): Filter {
  const paths = new Set<string>();
  collectPaths(expression, "", paths);
  return { canonical: expression.text, query: queryOf(expression), paths: [...paths].sort(), expression };
}

/**
 * @param filters - a client's filter, a resolved rule and so on
 * @returns the filter that is true where all of them are
 */
export function combineFilters(...filters: readonly Filter[]): Filter {
  return filterOf(
    junction(
      "$and",
      filters.map((filter) => filter.expression),
    ),
  );
}

/**
 * Joins conditions, in normal form: nested `$and`s become one, conditions are sorted by their text, repeated ones go.
 */
export function junction(op: Junction["op"], conditions: readonly Expression[]): Expression {
  const flat =
    op === "$and" ? conditions.flatMap((each) => ("of" in each && each.op === "$and" ? each.of : [each])) : conditions;
  const of = sortedByText(flat);
  const [only] = of;
  if (only !== undefined && of.length === 1 && op !== "$nor") return only;
  const node = { op, of, text: "" } as const;
  return { ...node, text: canonicalText(queryOf(node)) };
}

/** Makes a term, with its lists in normal form. */
export function term(path: string, body: TermBody): Term {
  const normal = normalOf(body);
  const operators = operatorsOf(normal);
  // Rather than a spread: V8 gives what that makes a hidden class of its own, and views keep terms by the thousand.
  return Object.assign({ path, operators, text: canonicalText({ [path]: operators }) }, normal);
}

/** @returns the expression as a query for the driver */
export function queryOf(expression: Expression): Document {
  if (!("of" in expression)) return { [expression.path]: expression.operators };
  return expression.op === "$and" ? conjunctionOf(expression.of) : { [expression.op]: expression.of.map(queryOf) };
}

/** Conditions side by side in one document, as people write them; `$and` only for those that need the same key. */
function conjunctionOf(conditions: readonly Expression[]): Document {
  const fields = new Map<string, Document>();
  const apart: Document[] = [];
  // Paths first: the first key of an $elemMatch tells whether it is about elements as values.
  for (const condition of [...conditions].sort((a, b) => Number("of" in a) - Number("of" in b))) {
    const [key, value] =
      "of" in condition ? [condition.op, condition.of.map(queryOf)] : [condition.path, condition.operators];
    const present = fields.get(key);
    if (present === undefined) fields.set(key, value);
    else if ("of" in condition || Object.keys(value).some((op) => op in present)) apart.push({ [key]: value });
    else fields.set(key, { ...present, ...value });
  }
  // Defined rather than assigned: a path is any text.
  return Object.fromEntries(apart.length === 0 ? fields : [...fields, ["$and", apart]]);
}

/** @returns canonical EJSON text, which keeps the types of numbers and the order of keys */
export function canonicalText(value: unknown): string {
  return BSON.EJSON.stringify(value, { relaxed: false });
}

function normalOf(body: TermBody): TermBody {
  if (body.op === "$in" || body.op === "$nin") return { ...body, values: sortedValues(body.values) };
  if (body.op === "$all") return { ...body, values: sortedValues(body.values), elements: sortedByText(body.elements) };
  if (body.op === "$not") return { ...body, terms: sortedByText(body.terms) };
  if (body.op === "$elemMatch" && "terms" in body) return { ...body, terms: sortedByText(body.terms) };
  if (body.op === "$type") return { ...body, types: [...new Set(body.types)].sort() };
  return body;
}

function operatorsOf(body: TermBody): Document {
  switch (body.op) {
    case "$in":
    case "$nin":
      return { [body.op]: body.values };
    case "$all":
      return { $all: [...body.values, ...body.elements.map((each) => each.operators)] };
    case "$type":
      return { $type: body.types };
    case "$mod":
      return { $mod: [body.divisor, body.remainder] };
    case "$regex":
      return body.options === "" ? { $regex: body.pattern } : { $regex: body.pattern, $options: body.options };
    case "$not":
      return { $not: merged(body.terms) };
    case "$elemMatch":
      return { $elemMatch: "terms" in body ? merged(body.terms) : queryOf(body.document) };
    default:
      return { [body.op]: body.value };
  }
}

function merged(terms: readonly Term[]): Document {
  return Object.assign({}, ...terms.map((each) => each.operators));
}

function sortedByText<T extends { readonly text: string }>(nodes: readonly T[]): T[] {
  return [...new Map(nodes.map((node) => [node.text, node])).values()].sort(byText);
}

function sortedValues(values: readonly unknown[]): unknown[] {
  return sortedByText(values.map((value) => ({ value, text: canonicalText({ value }) }))).map((each) => each.value);
}

function byText(left: { readonly text: string }, right: { readonly text: string }): number {
  return left.text < right.text ? -1 : left.text > right.text ? 1 : 0;
}

function collectPaths(expression: Expression, prefix: string, into: Set<string>): void {
  if ("of" in expression) {
    for (const each of expression.of) collectPaths(each, prefix, into);
    return;
  }
  const path = prefix === "" ? expression.path : expression.path === "" ? prefix : `${prefix}.${expression.path}`;
  into.add(path);
  if (expression.op === "$elemMatch" && "document" in expression) collectPaths(expression.document, path, into);
  if (expression.op === "$all") for (const each of expression.elements) collectPaths(each, prefix, into);
}
