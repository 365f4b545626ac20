import type { Document } from "mongodb";
import { documentOf } from "./bson.js";
import type { Expression, Filter, Term } from "./expression.js";
import { equals, hasRemainder, hasType, isOneOf, isOrdered, type MatchOptions, matchesRegex } from "./predicates.js";
import { compileRegex } from "./regex.js";
import { isRegExp } from "./values.js";
import { type DocumentTest, missing, testAt, type ValueTest } from "./walk.js";

export type { MatchOptions } from "./predicates.js";
export type { DocumentTest } from "./walk.js";

/**
 * Compiles a filter to closures that give the answer of the server's `find`.
 *
 * Documents are taken as the driver reads them, with any of its options. What it loses on the way can't be matched:
 * a symbol read as a string is of `$type` "string"; dates beyond JavaScript's range equal nothing and are ordered with
 * nothing; of a key that a document has twice only the last is seen.
 *
 * @returns a function that tells whether a document matches
 */
export function compileFilter(filter: Filter, options: MatchOptions = {}): DocumentTest {
  return documentTestOf(filter.expression, options);
}

function documentTestOf(expression: Expression, options: MatchOptions): DocumentTest {
  if (!("of" in expression)) return termTestOf(expression, options);
  const tests = expression.of.toSorted((a, b) => costOf(a) - costOf(b)).map((each) => documentTestOf(each, options));
  switch (expression.op) {
    case "$and":
      return every(tests);
    case "$or":
      return some(tests);
    case "$nor":
      return not(some(tests));
  }
}

function termTestOf(term: Term, options: MatchOptions): DocumentTest {
  const { path } = term;
  switch (term.op) {
    case "$ne":
      return not(testAt(path, equals(term.value, options), true));
    case "$nin":
      return not(testAt(path, listTestOf(term.values, path, options), true));
    case "$exists": {
      const exists = testAt(path, isThere, true);
      return term.value ? exists : not(exists);
    }
    case "$not":
      return not(every(term.terms.map((each) => termTestOf(each, options))));
    case "$all":
      if (term.values.length + term.elements.length === 0) return () => false;
      return every([
        ...term.values.map((value) => testAt(path, listTestOf([value], path, options), true)),
        ...term.elements.map((element) => termTestOf(element, options)),
      ]);
    case "$size":
    case "$elemMatch":
      return testAt(path, valueTestOf(term, options), false);
    default:
      return testAt(path, valueTestOf(term, options), true);
  }
}

/** The test of a term for one value, without a look into it where it is an array, as `$elemMatch` needs it. */
function valueTestOf(term: Term, options: MatchOptions): ValueTest {
  switch (term.op) {
    case "$eq":
      return equals(term.value, options);
    case "$ne":
      return not(equals(term.value, options));
    case "$gt":
    case "$gte":
    case "$lt":
    case "$lte":
      return isOrdered(term.op, term.value, options);
    case "$in":
      return listTestOf(term.values, term.path, options);
    case "$nin":
      return not(listTestOf(term.values, term.path, options));
    case "$all":
      if (term.values.length + term.elements.length === 0) return () => false;
      return every([
        ...term.values.map((value) => listTestOf([value], term.path, options)),
        ...term.elements.map((element) => valueTestOf(element, options)),
      ]);
    case "$exists":
      return term.value ? isThere : not(isThere);
    case "$size":
      return (value) => Array.isArray(value) && value.length === term.value;
    case "$type":
      return hasType(term.types);
    case "$mod":
      return hasRemainder(term.divisor, term.remainder);
    case "$regex":
      return matchesRegex(term.pattern, term.options, compileRegex(term.pattern, term.options, term.path));
    case "$not":
      return not(every(term.terms.map((each) => valueTestOf(each, options))));
    case "$elemMatch": {
      const element = "terms" in term ? valuesTestOf(term.terms, options) : elementTestOf(term.document, options);
      return (value) => Array.isArray(value) && value.some((each) => element(each));
    }
  }
}

function listTestOf(values: readonly unknown[], path: string, options: MatchOptions): ValueTest {
  const regexes = values.filter(isRegExp);
  const constants = values.filter((value) => !isRegExp(value));
  const [only] = constants;
  if (constants.length === 1 && regexes.length === 0) return equals(only, options);
  return isOneOf(
    constants,
    regexes.map((regex) =>
      matchesRegex(regex.pattern, regex.options, compileRegex(regex.pattern, regex.options, path)),
    ),
    options,
  );
}

function valuesTestOf(terms: readonly Term[], options: MatchOptions): ValueTest {
  return every(terms.map((each) => valueTestOf(each, options)));
}

/** An element that is an array is looked into as a document with the names 0, 1 and so on. */
function elementTestOf(expression: Expression, options: MatchOptions): ValueTest {
  const test = documentTestOf(expression, options);
  return (value) => {
    const document: Document | undefined = Array.isArray(value) ? { ...value } : documentOf(value);
    return document !== undefined && test(document);
  };
}

function isThere(value: unknown): boolean {
  return value !== missing;
}

function not<T>(test: (value: T) => boolean): (value: T) => boolean {
  return (value) => !test(value);
}

function every<T>(tests: readonly ((value: T) => boolean)[]): (value: T) => boolean {
  const [first, second, third, ...rest] = tests;
  if (first === undefined) return () => true;
  if (second === undefined) return first;
  if (third === undefined) return (value) => first(value) && second(value);
  if (rest.length === 0) return (value) => first(value) && second(value) && third(value);
  const others = every(rest);
  return (value) => first(value) && second(value) && third(value) && others(value);
}

function some<T>(tests: readonly ((value: T) => boolean)[]): (value: T) => boolean {
  return (value) => {
    for (const test of tests) if (test(value)) return true;
    return false;
  };
}

/** Cheap conditions that most documents fail come first. */
function costOf(expression: Expression): number {
  if ("of" in expression) return 3;
  if (expression.op === "$eq") return 0;
  if (expression.op === "$regex" || expression.op === "$elemMatch") return 4;
  return expression.op === "$in" ? 1 : 2;
}
