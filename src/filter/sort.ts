import { RequestError } from "../errors.js";
import { filterLimits } from "./limits.js";
import { checkAllowed, checkPath, databasePathOf } from "./paths.js";

/** A path as the database names it, and 1 for ascending or -1 for descending. */
export type SortKey = readonly [path: string, direction: 1 | -1];

/**
 * Reads a sort such as `-created_at,name`.
 *
 * @param text - paths joined by commas, descending with a leading minus; empty for none. Spaces after commas don't count
 * @param allowedPaths - as for `parseFilter`
 * @throws RequestError `bad-sort` or `path-not-filterable`
 */
export function parseSort(text: string, allowedPaths?: readonly string[]): SortKey[] {
  if (text === "") return [];
  // Bounded, so that a long text of commas is not split into as many pieces.
  const parts = text.split(",", filterLimits.sortKeys + 1);
  if (parts.length > filterLimits.sortKeys) {
    throw new RequestError(400, "bad-sort", `A sort has at most ${filterLimits.sortKeys} keys.`);
  }
  const keys = parts.map((written, index): SortKey => {
    const part = written.trimStart();
    const name = part.startsWith("-") ? part.slice(1) : part;
    const at = `sort[${index}]`;
    checkPath(name, at, "bad-sort");
    checkAllowed(name, at, allowedPaths);
    return [databasePathOf(name), part.startsWith("-") ? -1 : 1];
  });
  const names = new Set(keys.map(([path]) => path));
  if (names.size < keys.length) throw new RequestError(400, "bad-sort", "A sort can name each path only once.");
  return keys;
}
