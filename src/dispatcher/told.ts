import type { Document } from "mongodb";
import { RequestError } from "../errors.js";
import type { Operation } from "../message.js";
import { idKey } from "./id-key.js";
import { encodeValue } from "./json.js";
import type { View } from "./view.js";

/** What an application says has happened, though the database did not. */
export type Told =
  | { operation: "insert" | "update"; document: Document }
  | { operation: "delete"; ids: readonly unknown[] };

/** Ids that are remembered of what a filtered view was told of here; the oldest go first. */
export const rememberedIds = 10_000;

/** By view, encoded; each until its document is told to be gone. */
const toldIds = new WeakMap<View, Set<string>>();

/**
 * Nobody is told of a document that they may not see, nor its id. What a filtered view shows of the database says nothing of
 * documents that are in no collection: of those it is remembered that they were told of.
 *
 * @returns JSON text for the view's audience, or undefined where it is none of its
 */
export function dataOf(view: View, told: Told): string | undefined {
  if (told.operation !== "delete") {
    if (!view.matches(told.document)) return undefined;
    const text = view.representation.encode(told.document);
    if (view.filter !== undefined) remember(view, encodeValue(told.document._id));
    return text;
  }
  const ids = told.ids.filter((id) => {
    if (view.filter === undefined) return true;
    const wasTold = toldIds.get(view)?.delete(encodeValue(id)) ?? false;
    return wasTold || view.shown?.has(idKey(id));
  });
  return ids.length === 0 ? undefined : `[${ids.map((id) => view.representation.encodeId(id)).join(",")}]`;
}

function remember(view: View, id: string): void {
  const ids = toldIds.get(view) ?? new Set();
  toldIds.set(view, ids);
  ids.delete(id);
  ids.add(id);
  if (ids.size <= rememberedIds) return;
  const [oldest] = ids;
  ids.delete(oldest as string);
}

/** @throws RequestError 400 `bad-data` or `bad-operation` */
export function checked(operation: Operation, data: Document | readonly unknown[]): Told {
  if (operation === "delete") {
    if (!Array.isArray(data)) throw new RequestError(400, "bad-data", "delete takes a list of removed ids");
    return { operation, ids: data };
  }
  if (operation !== "insert" && operation !== "update") {
    throw new RequestError(400, "bad-operation", `unknown operation "${operation}": use insert, update or delete`);
  }
  const isDocument = typeof data === "object" && data !== null && !Array.isArray(data);
  if (!isDocument || !("_id" in data || "id" in data)) {
    throw new RequestError(400, "bad-data", `${operation} takes a document with its _id`);
  }
  return { operation, document: "_id" in data ? data : { ...data, _id: (data as Document).id } };
}
