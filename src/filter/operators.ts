import { BSON } from "mongodb";
import { RequestError } from "../errors.js";
import { type Expression, filterOf, type Term, term } from "./expression.js";
import { filterLimits, isPlainObject, tooManyTerms } from "./limits.js";
import { checkAllowed } from "./paths.js";
import { compileRegex } from "./regex.js";
import { promotedNumberTypes, typeNamesOf } from "./types.js";
import { bad, isRegExp, isWrapper, readValue } from "./values.js";

/** One run over a filter. */
export interface Reading {
  readonly allowedPaths: readonly string[] | undefined;
  readonly exactNumberTypes: boolean;
  /** Reads the conditions inside of an `$elemMatch`. */
  readonly readConditions: (input: unknown, at: string, prefix: string, reading: Reading) => Expression;
  terms: number;
  regexes: number;
}

/** What surrounds an operator: its path and the place of both in the request. */
export interface Place {
  /** The path below the enclosing `$elemMatch`, as the client names it. */
  readonly path: string;
  /** The whole path, `$elemMatch` included, as the client names it. */
  readonly fullPath: string;
  readonly at: string;
}

/** The operators that stand beside paths. */
export const junctions: ReadonlySet<string> = new Set(["$and", "$or", "$nor"]);

/** Operators that people know from MongoDB, and what to do without them here. */
const unsupported: ReadonlyMap<string, string> = new Map([
  ["$where", "It runs code."],
  ["$function", "It runs code."],
  ["$expr", "Expressions can't be matched on the stream; compare fields with values."],
  ["$text", "It needs the server's text index; use $regex."],
  ["$jsonSchema", "Use $type, $exists and comparisons."],
]);

/** @returns whether an operand is operators rather than a value: its first key decides, as it does for the server. */
export function isOperators(input: unknown): input is Record<string, unknown> {
  if (!isPlainObject(input) || isWrapper(input)) return false;
  return Object.keys(input)[0]?.startsWith("$") === true;
}

/** Reads the operators on one path, such as `{ $gte: 5, $lt: 9 }`. */
export function readOperators(input: Record<string, unknown>, place: Place, reading: Reading): Term[] {
  const terms: Term[] = [];
  for (const [op, operand] of Object.entries(input)) {
    const here = { ...place, at: `${place.at}.${op}` };
    if (op === "$options") {
      if (!("$regex" in input)) throw bad(here.at, "$options stands beside a $regex.");
      continue;
    }
    count(reading);
    const reader = operators.get(op);
    if (reader === undefined) {
      throw notSupported(op, place.at, `These are: ${[...operators.keys()].join(", ")}.`);
    }
    // An $elemMatch tells of the paths in it, and they are checked instead.
    if (op !== "$elemMatch" && op !== "$not") checkAllowed(place.fullPath, here.at, reading.allowedPaths);
    terms.push(reader(operand, here, reading, input));
  }
  return terms;
}

type OperatorReader = (operand: unknown, place: Place, reading: Reading, siblings: Record<string, unknown>) => Term;

const operators: ReadonlyMap<string, OperatorReader> = new Map<string, OperatorReader>([
  ["$eq", (operand, place, reading) => comparisonTerm("$eq", notRegExp("$eq", operand, place), place, reading)],
  ["$ne", (operand, place, reading) => comparisonTerm("$ne", notRegExp("$ne", operand, place), place, reading)],
  ["$gt", (operand, place) => orderTerm("$gt", operand, place)],
  ["$gte", (operand, place) => orderTerm("$gte", operand, place)],
  ["$lt", (operand, place) => orderTerm("$lt", operand, place)],
  ["$lte", (operand, place) => orderTerm("$lte", operand, place)],
  ["$in", (operand, place, reading) => listTerm("$in", operand, place, reading)],
  ["$nin", (operand, place, reading) => listTerm("$nin", operand, place, reading)],
  ["$all", readAll],
  ["$exists", readExists],
  ["$size", readSize],
  ["$type", readType],
  ["$mod", readMod],
  ["$regex", readRegex],
  ["$not", readNot],
  ["$elemMatch", readElemMatch],
]);

/** @returns an equality, or a list of both forms of a public id */
export function comparisonTerm(op: "$eq" | "$ne", value: unknown, place: Place, reading: Reading): Term {
  const values = idValues(value, place);
  if (values.length === 1) return term(place.path, { op, value });
  count(reading);
  return term(place.path, { op: op === "$eq" ? "$in" : "$nin", values });
}

function orderTerm(op: "$gt" | "$gte" | "$lt" | "$lte", operand: unknown, place: Place): Term {
  const value = notRegExp(op, operand, place);
  if (holdsDocument(value)) {
    // JavaScript moves keys like "7" to the front of a stored sub-document, so its place in the order may be wrong.
    throw bad(place.at, `${op} can't compare sub-documents; name a field of them by its dotted path.`);
  }
  return term(place.path, { op, value });
}

function listTerm(op: "$in" | "$nin", operand: unknown, place: Place, reading: Reading): Term {
  const values = readList(op, operand, place, reading);
  for (const value of values) if (isRegExp(value)) checkRegex(value.pattern, value.options, place, reading);
  return term(place.path, { op, values: values.flatMap((value) => idValues(value, place)) });
}

function readAll(operand: unknown, place: Place, reading: Reading): Term {
  if (!Array.isArray(operand)) throw bad(place.at, "$all takes a list.");
  const isElement = (each: unknown) => isPlainObject(each) && Object.keys(each).join() === "$elemMatch";
  if (!operand.some(isElement)) {
    const values = readList("$all", operand, place, reading);
    for (const value of values) if (isRegExp(value)) checkRegex(value.pattern, value.options, place, reading);
    return term(place.path, { op: "$all", values, elements: [] });
  }
  if (!operand.every(isElement)) throw bad(place.at, "$all takes values, or $elemMatch only, not both.");
  const elements = operand.map((each, index) => {
    count(reading);
    return readElemMatch(each.$elemMatch, { ...place, at: `${place.at}[${index}].$elemMatch` }, reading);
  });
  return term(place.path, { op: "$all", values: [], elements });
}

function readExists(operand: unknown, place: Place): Term {
  if (typeof operand !== "boolean") throw bad(place.at, "$exists takes true or false.");
  return term(place.path, { op: "$exists", value: operand });
}

function readSize(operand: unknown, place: Place): Term {
  const value = integerOf(operand, place.at);
  if (value === undefined || value < 0 || value > 0x7fffffff)
    throw bad(place.at, "$size takes a whole number from 0 on.");
  return term(place.path, { op: "$size", value });
}

function readType(operand: unknown, place: Place, reading: Reading): Term {
  const list = Array.isArray(operand) ? operand : [operand];
  if (list.length === 0) throw bad(place.at, "$type takes at least one type.");
  const types = list.flatMap((each) => {
    const names = typeNamesOf(typeof each === "string" ? each : integerOf(each, place.at));
    if (names === undefined) throw bad(place.at, `there is no type ${JSON.stringify(each)} that $type can match.`);
    return names;
  });
  const promoted = promotedNumberTypes.filter((name) => types.includes(name));
  if (promoted.length % promotedNumberTypes.length !== 0 && !reading.exactNumberTypes) {
    throw bad(place.at, 'int, long and double can\'t be told apart on the stream; use "number", or all three.');
  }
  return term(place.path, { op: "$type", types });
}

function readMod(operand: unknown, place: Place): Term {
  const [divisor, remainder] = Array.isArray(operand) ? operand.map((each) => integerOf(each, place.at)) : [];
  if (!Array.isArray(operand) || operand.length !== 2 || divisor === undefined || remainder === undefined) {
    throw bad(place.at, "$mod takes a list of two integers within ±9007199254740991: divisor and remainder.");
  }
  if (divisor === 0) throw bad(place.at, "the divisor of $mod can't be 0.");
  return term(place.path, { op: "$mod", divisor, remainder });
}

function readRegex(operand: unknown, place: Place, reading: Reading, siblings: Record<string, unknown>): Term {
  const options = siblings.$options ?? "";
  if (typeof options !== "string") throw bad(place.at, "$options is a string of the letters i, m and s.");
  if (typeof operand === "string") return regexTerm(place, operand, options, reading);
  const value = readValue(operand, place.at);
  if (!isRegExp(value)) throw bad(place.at, "$regex takes a string.");
  if (options !== "" && value.options !== "") throw bad(place.at, "the options stand both in $regex and in $options.");
  return regexTerm(place, value.pattern, value.options || options, reading);
}

function readNot(operand: unknown, place: Place, reading: Reading): Term {
  if (isOperators(operand)) {
    return term(place.path, { op: "$not", terms: readDistinct(operand, place, reading) });
  }
  const value = isPlainObject(operand) && !isWrapper(operand) ? undefined : readValue(operand, place.at);
  if (!isRegExp(value)) throw bad(place.at, '$not takes operators, such as {"$gt": 5}, or a regular expression.');
  checkAllowed(place.fullPath, place.at, reading.allowedPaths);
  return term(place.path, { op: "$not", terms: [regexTerm(place, value.pattern, value.options, reading)] });
}

function readElemMatch(operand: unknown, place: Place, reading: Reading): Term {
  if (!isPlainObject(operand) || isWrapper(operand)) throw bad(place.at, "$elemMatch takes an object.");
  const first = Object.keys(operand)[0];
  if (first === undefined) checkAllowed(place.fullPath, place.at, reading.allowedPaths);
  if (first?.startsWith("$") === true && !junctions.has(first)) {
    checkAllowed(place.fullPath, place.at, reading.allowedPaths);
    return term(place.path, { op: "$elemMatch", terms: readDistinct(operand, { ...place, path: "" }, reading) });
  }
  const document = reading.readConditions(operand, place.at, place.fullPath, reading);
  if (filterOf(document).paths.length === 0) checkAllowed(place.fullPath, place.at, reading.allowedPaths);
  return term(place.path, { op: "$elemMatch", document });
}

/** Where the terms become keys of one object again, a public id must not have made two of one. */
function readDistinct(operand: Record<string, unknown>, place: Place, reading: Reading): Term[] {
  const terms = readOperators(operand, place, reading);
  if (new Set(terms.map((each) => each.op)).size < terms.length) {
    throw bad(place.at, "$eq with an id stands for $in, and $ne for $nin, and here only one of each pair can be used.");
  }
  return terms;
}

function readList(op: string, operand: unknown, place: Place, reading: Reading): unknown[] {
  if (!Array.isArray(operand)) throw bad(place.at, `${op} takes a list.`);
  return operand.map((each, index) => {
    count(reading);
    return readValue(each, `${place.at}[${index}]`);
  });
}

/** Public ids are text: see {@link parseFilter}. */
function idValues(value: unknown, place: Place): unknown[] {
  if (place.fullPath !== "id" && place.fullPath !== "_id") return [value];
  if (typeof value !== "string" || !/^[0-9a-f]{24}$/i.test(value)) return [value];
  return [value, new BSON.ObjectId(value)];
}

function notRegExp(op: string, operand: unknown, place: Place): unknown {
  const value = readValue(operand, place.at);
  if (isRegExp(value)) throw bad(place.at, `${op} can't take a regular expression; use $regex, or $not with $regex.`);
  return value;
}

function holdsDocument(value: unknown): boolean {
  return isPlainObject(value) || (Array.isArray(value) && value.some(holdsDocument));
}

function integerOf(operand: unknown, at: string): number | undefined {
  const value = readValue(operand, at);
  const { Double, Int32, Long } = BSON;
  const plain =
    value instanceof Int32 || value instanceof Double ? value.value : value instanceof Long ? value.toNumber() : value;
  return typeof plain === "number" && Number.isSafeInteger(plain) ? plain + 0 : undefined;
}

/** @returns a condition with a regular expression that has been checked */
export function regexTerm(place: Place, pattern: string, options: string, reading: Reading): Term {
  const normalOptions = [...new Set(options)].sort().join("");
  checkRegex(pattern, normalOptions, place, reading);
  return term(place.path, { op: "$regex", pattern, options: normalOptions });
}

function checkRegex(pattern: string, options: string, place: Place, reading: Reading): void {
  reading.regexes += 1;
  if (reading.regexes > filterLimits.regexes) {
    throw new RequestError(
      400,
      "filter-too-large",
      `The filter has too many regular expressions: at most ${filterLimits.regexes} are allowed.`,
    );
  }
  compileRegex(pattern, options, place.at);
}

/** Counts one condition or value of a list. */
export function count(reading: Reading): void {
  reading.terms += 1;
  if (reading.terms > filterLimits.terms) throw tooManyTerms();
}

/** @returns the error for an operator that is not on the list */
export function notSupported(op: string, at: string, instead: string): RequestError {
  const reason = unsupported.get(op);
  return new RequestError(
    400,
    "operator-not-supported",
    `At ${at}: the operator ${JSON.stringify(op)} is not supported. ${reason ?? instead}`,
    { at },
  );
}
