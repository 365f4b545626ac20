import { claimName } from "../config/rule.js";
import type { Rule, User } from "../config/settings.js";
import { type Filter, parseFilter } from "../filter/parse.js";

/** What a rule comes to for one user: every document, none, or those that match a filter. */
export type ResolvedRule = boolean | Filter;

/**
 * Resolves a `read` or `write` rule for a user: claims take the place of `"$user.X"`, as literals.
 *
 * A claim that is missing, or that is no text, number or boolean, matches nothing: not even what the negation of a
 * comparison with it would match. So the condition that names it is false where conditions only add up, and under `$nor`
 * or `$not` the whole rule is. A list of such values may stand under `$in` and `$nin`.
 *
 * @param user - null for an anonymous connection, which has no claims
 * @throws what a function of the application throws, and `RequestError` where it returns a filter that can't be read
 */
export function resolveRule(rule: Rule, user: User | null): ResolvedRule {
  const given = typeof rule === "function" ? rule(user) : rule;
  if (typeof given === "boolean") return given;
  const resolved = withClaims(given, user);
  return resolved === never ? false : parseFilter(resolved);
}

/** Stands for a condition that matches nothing, until the level is found that can drop it. */
const never: unique symbol = Symbol("never");

function withClaims(filter: unknown, user: User | null): unknown {
  if (!isRecord(filter)) return filter;
  const conditions: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(filter)) {
    const resolved = key.startsWith("$") ? underJunction(key, value, user) : underPath(value, user);
    // Conditions of one document all have to hold.
    if (resolved === never) return never;
    conditions[key] = resolved;
  }
  return conditions;
}

function underJunction(operator: string, operand: unknown, user: User | null): unknown {
  if (!Array.isArray(operand)) return operand;
  const resolved = operand.map((each) => withClaims(each, user));
  if (operator !== "$or") return resolved.includes(never) ? never : resolved;
  const left = resolved.filter((each) => each !== never);
  return left.length === 0 ? never : left;
}

function underPath(value: unknown, user: User | null): unknown {
  const name = claimName(value);
  if (name !== undefined) return scalarOrNever(claimOf(user, name));
  if (!isRecord(value)) return value;
  const operators: Record<string, unknown> = {};
  for (const [operator, operand] of Object.entries(value)) {
    const resolved = underOperator(operator, operand, user);
    if (resolved === never) return never;
    operators[operator] = resolved;
  }
  return operators;
}

function underOperator(operator: string, operand: unknown, user: User | null): unknown {
  const name = claimName(operand);
  if (name !== undefined) {
    const claim = claimOf(user, name);
    const isList = operator === "$in" || operator === "$nin";
    if (!isList) return scalarOrNever(claim);
    return Array.isArray(claim) && claim.every(isScalar) ? claim : never;
  }
  if (Array.isArray(operand)) {
    const resolved = operand.map((each) => {
      const claim = claimName(each);
      return claim === undefined ? withClaims(each, user) : scalarOrNever(claimOf(user, claim));
    });
    return resolved.includes(never) ? never : resolved;
  }
  return isRecord(operand) ? underPath(operand, user) : operand;
}

/** @param name - may be a path into a claim that is a document, `org.id` */
function claimOf(user: User | null, name: string): unknown {
  let value: unknown = user;
  for (const segment of name.split(".")) {
    if (!isRecord(value) || !Object.hasOwn(value, segment)) return undefined;
    value = value[segment];
  }
  return value;
}

function scalarOrNever(claim: unknown): unknown {
  return isScalar(claim) ? claim : never;
}

function isScalar(claim: unknown): boolean {
  return typeof claim === "string" || typeof claim === "boolean" || Number.isFinite(claim);
}

/** Documents as a configuration has them; instances of BSON classes and dates are values. */
function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
