import type { Document } from "mongodb";
import { normalizePaths } from "../config/names.js";
import type { InterfaceSettings } from "../config/settings.js";
import { RequestError } from "../errors.js";
import { checkPath } from "../filter/paths.js";
import type { SortKey } from "../filter/sort.js";
import type { Format } from "../message.js";
import { createExtendedRepresentation } from "./ejson.js";
import { createRepresentation, type Representation } from "./representation.js";

const maxFields = 100;

/** What is shown of an interface where nothing else is asked for: one for all views of it. */
const usual = new WeakMap<InterfaceSettings, Map<Format, Representation>>();

/** @returns the paths that clients may filter and sort on, or undefined for every path */
export function allowedPathsOf(settings: InterfaceSettings): readonly string[] | undefined {
  // What a function shows can't be told in paths.
  if (settings.representation !== undefined) return settings.filterable;
  return settings.fields === undefined ? undefined : [...settings.fields, ...settings.filterable];
}

/**
 * @param asked - paths that the client wants of the representation, or undefined for all of it
 * @returns what it is to be shown
 * @throws RequestError 400 `bad-fields` for paths that are malformed or not shown to anyone
 */
export function representationOf(
  settings: InterfaceSettings,
  asked: readonly string[] | undefined,
  format: Format = "json",
): Representation {
  if (asked === undefined) return usualOf(settings, format);
  if (settings.representation !== undefined) {
    throw new RequestError(400, "bad-fields", "what this interface shows is made by a function; leave `fields` out");
  }
  return creators[format]({ fields: narrow(settings.fields, asked) });
}

const creators = { json: createRepresentation, ejson: createExtendedRepresentation };

function usualOf(settings: InterfaceSettings, format: Format): Representation {
  const made = usual.get(settings) ?? new Map<Format, Representation>();
  usual.set(settings, made);
  const representation = made.get(format) ?? creators[format](settings);
  made.set(format, representation);
  return representation;
}

/**
 * @returns what has to be read for a representation and a sort: whole top-level fields for sort keys, because what a
 *   projection leaves of an array can sort differently; undefined for whole documents
 */
export function projectionOf(
  settings: InterfaceSettings,
  representation: Representation,
  sort: readonly SortKey[],
): Document | undefined {
  const { fields } = representation;
  if (settings.representation !== undefined || fields === undefined) return undefined;
  const roots = sort.map(([path]) => path.split(".", 1)[0] ?? path);
  const paths = normalizePaths([...fields, ...roots]);
  return { _id: 1, ...Object.fromEntries(paths.map((path) => [path, 1])) };
}

/** A path below a shown one narrows it; a path above shown ones stands for those. */
function narrow(shown: readonly string[] | undefined, asked: readonly string[]): string[] {
  if (asked.length > maxFields) {
    throw new RequestError(400, "bad-fields", `fields has ${asked.length} paths; at most ${maxFields} are allowed`);
  }
  const narrowed = asked.flatMap((path) => {
    checkPath(path, "fields", "bad-fields");
    if (path === "id" || path === "_id") return [];
    if (shown === undefined || shown.some((field) => isWithin(path, field))) return [path];
    const below = shown.filter((field) => isWithin(field, path));
    if (below.length > 0) return below;
    throw new RequestError(
      400,
      "bad-fields",
      `${JSON.stringify(path)} is not shown; these are: ${["id", ...shown].join(", ")}`,
      { path },
    );
  });
  return normalizePaths(narrowed);
}

function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(`${ancestor}.`);
}
