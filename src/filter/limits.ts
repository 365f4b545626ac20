import { RequestError } from "../errors.js";

/** What one filter may cost. Lengths are in characters. */
export const filterLimits = {
  /** Characters of a filter in a query string. */
  text: 65_536,
  /** Objects and arrays within one another. */
  depth: 16,
  /** Conditions, and values in lists and sub-documents. */
  terms: 256,
  stringLength: 4_096,
  pathLength: 256,
  regexLength: 256,
  /** Regular expressions in one filter. */
  regexes: 8,
  /** Instructions of a compiled regular expression. */
  regexProgram: 1_000,
  /** States of its automaton, and steps to build it: some milliseconds. */
  regexStates: 1_000,
  regexWork: 50_000,
  /** Sort keys. MongoDB itself allows 32. */
  sortKeys: 8,
} as const;

/**
 * Refuses a filter that is too deep or too large before anything recurses into it. It uses a list instead of the call
 * stack, and stops at the first excess, so that its own cost is bounded too.
 *
 * @throws RequestError `filter-too-deep` or `filter-too-large`
 */
export function checkSize(input: unknown): void {
  const open: { value: unknown; depth: number }[] = [{ value: input, depth: 1 }];
  let seen = 0;
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, depth } = next;
    if (typeof value === "string") checkLength("a string", value.length, filterLimits.stringLength);
    if (!isContainer(value)) continue;
    if (depth > filterLimits.depth) {
      throw new RequestError(
        400,
        "filter-too-deep",
        `The filter has more than ${filterLimits.depth} levels of objects and arrays within one another.`,
      );
    }
    const children: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
    // The longest values in Extended JSON have four keys, so this bound never bites before the one on terms.
    seen += children.length;
    if (seen > filterLimits.terms * 5) throw tooManyTerms();
    if (!Array.isArray(value)) {
      for (const key of Object.keys(value)) checkLength("a key", key.length, filterLimits.pathLength);
    }
    for (const child of children) open.push({ value: child, depth: depth + 1 });
  }
}

/** @throws RequestError `filter-too-large` where `length` is over `most` */
export function checkLength(what: string, length: number, most: number): void {
  if (length <= most) return;
  throw new RequestError(
    400,
    "filter-too-large",
    `The filter has ${what} of ${length} characters; at most ${most} are allowed.`,
  );
}

/** @returns the error for a filter with too many conditions or values */
export function tooManyTerms(): RequestError {
  return new RequestError(
    400,
    "filter-too-large",
    `The filter has too many conditions or values: at most ${filterLimits.terms} are allowed.`,
  );
}

function isContainer(value: unknown): value is Record<string, unknown> | unknown[] {
  if (typeof value !== "object" || value === null) return false;
  return Array.isArray(value) || isPlainObject(value);
}

/**
 * Tells a document from an instance of a BSON class or a Date. It asks for the prototype because the classes' own mark
 * (`_bsontype`) can also be the name of a field that somebody stored.
 */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
