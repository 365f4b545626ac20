import type { Collection, Document } from "mongodb";
import type { Representation } from "../dispatcher/representation.js";
import type { SortKey } from "../filter/sort.js";
import { readings } from "./format.js";
import { queriesAfter, type Successors } from "./keyset.js";
import type { ReadOptions } from "./reads.js";
import { compareSortValues, type SortValues, sortValuesOf } from "./sort-values.js";

/** What to read, with all of it checked. */
export interface PageRequest {
  /** For the driver. */
  readonly query: Document;
  /** The last key is `_id`. */
  readonly sort: readonly SortKey[];
  readonly projection: Document | undefined;
  readonly representation: Representation;
  readonly limit: number;
  /** Values of the row to begin after. */
  readonly after: SortValues | undefined;
}

export interface Page {
  /** The rows as JSON texts. */
  readonly rows: readonly string[];
  /** Values of the last row, where more rows follow. */
  readonly last: SortValues | undefined;
}

/**
 * After this many bytes of JSON a page ends, whatever its limit, so that no answer grows without bound. A single
 * row can be longer: MongoDB's documents have 16 MB at most.
 */
export const pageBytes = 8_000_000;

/**
 * Reads a page of a sorted list by the values of the row before it, never by counting rows. So a row that keeps its sort
 * values is neither skipped nor repeated, whatever is written between two pages.
 *
 * @param read - options of every read: time limit, signal and the like; asked again for each
 */
export async function readPage(collection: Collection, request: PageRequest, read: () => ReadOptions): Promise<Page> {
  const { representation, limit } = request;
  const rows: string[] = [];
  let bytes = 0;
  let last: SortValues | undefined;
  for await (const { document, bytes: stored, values } of rowsOf(collection, request, read)) {
    if (rows.length === limit) return { rows, last };
    const row = representation.encode(document, stored);
    const size = Buffer.byteLength(row);
    if (rows.length > 0 && bytes + size > pageBytes) return { rows, last };
    rows.push(row);
    bytes += size;
    last = values;
  }
  return { rows, last: undefined };
}

/** @returns the sort with `_id` as its last key, in the direction of the key before it, so that one index can serve both ways */
export function completeSort(sort: readonly SortKey[]): SortKey[] {
  const at = sort.findIndex(([path]) => path === "_id");
  if (at !== -1) return sort.slice(0, at + 1);
  return [...sort, ["_id", sort.at(-1)?.[1] ?? 1]];
}

/** A row as it was read, with the values that it is sorted by. */
interface Row {
  readonly document: Document;
  readonly bytes?: Uint8Array;
  readonly values: SortValues;
}

async function* rowsOf(collection: Collection, request: PageRequest, read: () => ReadOptions): AsyncGenerator<Row> {
  const { sort, limit } = request;
  const reading = readings[request.representation.format];
  let after = request.after;
  let wanted = limit + 1;
  const queries = after === undefined ? [everything] : queriesAfter(sort, after);
  for (const { query, isBeyond } of queries) {
    // The server sorts far more cheaply with a limit. Rows that are dropped leave too few; then more are asked for.
    for (let atMost = wanted; ; atMost *= 4) {
      const options = read();
      const cursor = collection.find(
        { $and: [request.query, query] },
        {
          ...options,
          ...reading.options,
          ...(request.projection === undefined ? {} : { projection: request.projection }),
          sort: new Map(sort),
          limit: atMost,
        },
      );
      let seen = 0;
      let dropped = 0;
      let isComplete = false;
      for await (const row of cursor) {
        seen += 1;
        const stored = reading.read(row);
        const values = sortValuesOf(stored.document, sort);
        isComplete = isBeyond(values);
        if (isComplete) break;
        if (after !== undefined && seen === dropped + 1 && compareSortValues(values, after, sort) <= 0) {
          dropped += 1;
          continue;
        }
        yield { ...stored, values };
        wanted -= 1;
        after = values;
      }
      // A cursor that the signal closed ends as if it were complete.
      options.signal.throwIfAborted();
      if (isComplete || dropped === 0 || seen < atMost) break;
    }
  }
}

const everything: Successors = { query: {}, isBeyond: () => false };
