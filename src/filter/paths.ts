import { RequestError } from "../errors.js";
import { filterLimits } from "./limits.js";

/**
 * Keys that reach an object's prototype when a careless program assigns to them, and the one by which the driver tells
 * its own classes: it throws on documents that have it.
 */
const unusableKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype", "_bsontype"]);

/**
 * Checks a dotted path that a client or a configuration names.
 *
 * @param path - the path, such as `user.name` or `items.0.price`
 * @param at - where in the request it stands, for the message
 * @param code - the problem's code where the path is malformed
 * @throws RequestError with `code`
 */
export function checkPath(path: string, at: string, code: string): void {
  if (path.length > filterLimits.pathLength) {
    throw new RequestError(400, code, `At ${at}: the path is longer than ${filterLimits.pathLength} characters.`);
  }
  for (const segment of path.split(".")) {
    const fault = faultOfKey(segment, "A path is names joined by single dots.");
    if (fault !== undefined) throw new RequestError(400, code, `At ${at}: ${fault}`, { path });
  }
}

/** @returns why a key can't be used, or undefined */
export function faultOfKey(key: string, emptyKey?: string): string | undefined {
  if (key === "" && emptyKey !== undefined) return `a name in the path is empty. ${emptyKey}`;
  if (key.startsWith("$"))
    return `names that start with $ are operators, and ${JSON.stringify(key)} can't be used here.`;
  if (unusableKeys.has(key)) return `the name ${JSON.stringify(key)} can't be used.`;
  if (key.includes("\0")) return "names can't contain the character NUL.";
  return undefined;
}

/**
 * Refuses a path that the interface does not offer for filtering and sorting: the answer would reveal a hidden value.
 * A path is offered where it, or something above it, is listed. What is above a listed path is not: comparing the
 * whole of `user` would tell about the fields of it that are hidden. `id` is always offered.
 *
 * @param allowed - the listed paths; undefined where everything may be named, as in configured rules
 * @throws RequestError `path-not-filterable`
 */
export function checkAllowed(path: string, at: string, allowed: readonly string[] | undefined): void {
  if (allowed === undefined) return;
  const databasePath = databasePathOf(path);
  if (isWithin(databasePath, "_id")) return;
  if (allowed.some((each) => isWithin(databasePath, databasePathOf(each)))) return;
  throw new RequestError(
    400,
    "path-not-filterable",
    `At ${at}: ${JSON.stringify(path)} can't be used to filter or sort. These can: ${["id", ...allowed].join(", ")}.`,
    { path },
  );
}

/** @returns the name in the database of a path in public names: `id` is `_id` there */
export function databasePathOf(path: string): string {
  return path === "id" || path.startsWith("id.") ? `_${path}` : path;
}

function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || (path.startsWith(ancestor) && path[ancestor.length] === ".");
}
