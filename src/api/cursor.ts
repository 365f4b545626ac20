import { createHash } from "node:crypto";
import { BSON, type Document } from "mongodb";
import { decoding } from "../database.js";
import { RequestError } from "../errors.js";
import { isFaithful } from "./keyset.js";
import type { SortValues } from "./sort-values.js";

/** Characters of a cursor: it has to fit into a URL. */
export const maxCursorLength = 4_096;

/**
 * A place in a sorted list, as text: the values that the row before it is sorted by, in BSON, since JSON would lose their
 * types. Whoever makes one up chooses a place to begin, nothing else: its values are only ever compared with.
 *
 * @param query - identifies the list, see {@link queryTag}
 * @param values - of the last row before the place
 * @throws RequestError 400 `unpageable-sort` for values that don't fit or that JavaScript can't hold
 */
export function formatCursor(query: string, values: SortValues): string {
  const exact = values.every(isFaithful);
  // An undefined value is left out, which keeps it apart from null.
  const text = exact
    ? Buffer.from(BSON.serialize({ q: query, v: values.map((v) => ({ v })) }, { ignoreUndefined: true })).toString(
        "base64url",
      )
    : "";
  if (exact && text.length <= maxCursorLength) return text;
  throw new RequestError(
    400,
    "unpageable-sort",
    "the page ends at a row whose sort values are too long or too unusual to go on from: choose another sort, or a limit that ends elsewhere",
  );
}

/**
 * @param count - of the sort's keys
 * @returns the values
 * @throws RequestError 400 `bad-cursor` for what is no cursor of this query
 */
export function parseCursor(text: string, query: string, count: number): SortValues {
  const decoded = decode(text);
  if (decoded === undefined) throw new RequestError(400, "bad-cursor", "this is no cursor: take `next` of an answer");
  if (decoded.q !== query) {
    throw new RequestError(
      400,
      "bad-cursor",
      "the cursor belongs to another query: interface, filter, sort and fields have to stay the same from page to page",
    );
  }
  const rows: unknown = decoded.v;
  if (!Array.isArray(rows) || rows.length !== count || !rows.every((row) => typeof row === "object" && row !== null)) {
    throw new RequestError(400, "bad-cursor", "this is no cursor: take `next` of an answer");
  }
  const values = (rows as Document[]).map((row) => row.v as unknown);
  if (!values.every(isFaithful)) throw new RequestError(400, "bad-cursor", "the cursor holds a value that none has");
  return values;
}

/** @returns a short text that is the same for the same query */
export function queryTag(query: {
  interfaceName: string;
  filter: string;
  sort: string;
  fields: readonly string[] | undefined;
}): string {
  const text = JSON.stringify([query.interfaceName, query.filter, query.sort, query.fields ?? null]);
  return createHash("sha256").update(text).digest("base64url").slice(0, 16);
}

function decode(text: string): Document | undefined {
  if (text.length > maxCursorLength || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  try {
    return BSON.deserialize(Buffer.from(text, "base64url"), { ...decoding, allowObjectSmallerThanBufferSize: false });
  } catch {
    // Bytes that are no BSON: the caller says so.
    return undefined;
  }
}
