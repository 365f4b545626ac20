import { RequestError } from "../errors.js";
import { parseFilter } from "../filter/parse.js";
import { isPollutingKey } from "./names.js";

const maxDepth = 20;

/** Operators whose operand is compared with a document's value. Elsewhere a claim would be code: a pattern, a type, a size. */
const comparing = new Set(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all"]);
const listing = new Set(["$in", "$nin"]);

export interface RuleProblem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/**
 * @param value - any value in a rule
 * @returns the name of the claim that it stands for, `X` of `"$user.X"`, or undefined where it is a literal
 */
export function claimName(value: unknown): string | undefined {
  return typeof value === "string" && /^\$user\../.test(value) ? value.slice("$user.".length) : undefined;
}

/**
 * Checks a `read` or `write` rule: the filter language accepts it with a sample in place of each claim, and each claim
 * stands where a value may.
 *
 * @param rule - as it was configured
 * @returns what is wrong, each with its path inside the rule
 */
export function ruleProblems(rule: unknown): RuleProblem[] {
  if (typeof rule === "boolean" || typeof rule === "function") return [];
  if (!isPlainObject(rule)) {
    return [{ path: [], message: 'must be true, false or a filter, such as { "user.id": "$user.sub" }' }];
  }
  const problems: RuleProblem[] = [];
  inspect(rule, [], undefined, problems);
  if (problems.length > 0) return problems;
  try {
    parseFilter(withSampleClaims(rule, undefined));
    return [];
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return [{ path: [], message: `is no filter that can be matched. ${error.message}` }];
  }
}

function inspect(
  value: unknown,
  path: readonly PropertyKey[],
  operator: string | undefined,
  problems: RuleProblem[],
): void {
  if (path.length > maxDepth) {
    problems.push({ path: path.slice(0, 3), message: `is nested more than ${maxDepth} levels deep` });
  } else if (typeof value === "string") {
    const message = stringProblem(value, operator);
    if (message !== undefined) problems.push({ path, message });
  } else if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) inspect(item, [...path, index], operator, problems);
  } else if (isPlainObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      const message = keyProblem(key);
      if (message === undefined) inspect(item, [...path, key], key.startsWith("$") ? key : undefined, problems);
      else problems.push({ path: [...path, key], message });
    }
  }
}

function keyProblem(key: string): string | undefined {
  if (key.split(".").some(isPollutingKey)) return "a path can't go through __proto__, constructor or prototype";
  if (key.startsWith("$user")) return 'a claim is a value, not a path; write { "user.id": "$user.sub" }';
  return undefined;
}

function stringProblem(text: string, operator: string | undefined): string | undefined {
  // A pattern's $ is its own: { $regex: "$" }.
  if (!/^\$[A-Za-z]/.test(text) || (operator === "$regex" && !/^\$user\b/.test(text))) return undefined;
  const claim = claimName(text);
  if (claim === undefined) {
    return `${JSON.stringify(text)} looks like a reference, but only "$user.X", with X a claim of the token, is one`;
  }
  if (claim.split(".").some((part) => part === "" || isPollutingKey(part))) {
    return `${JSON.stringify(text)} names no claim; write "$user.X", with X a claim of the token`;
  }
  if (operator !== undefined && !comparing.has(operator)) {
    return `a claim can be compared with ($eq, $in and their like), but not stand under ${operator}`;
  }
  return undefined;
}

/** Where a claim may be a list, the sample is one. */
function withSampleClaims(value: unknown, operator: string | undefined): unknown {
  if (claimName(value) !== undefined) return operator !== undefined && listing.has(operator) ? ["sample"] : "sample";
  if (Array.isArray(value)) return value.map((item) => withSampleClaims(item, undefined));
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withSampleClaims(item, key)]));
}

/** An object literal, as opposed to a date, an ObjectId or another value of a class. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
