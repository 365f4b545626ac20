import type { Document } from "mongodb";
import { RequestError } from "../errors.js";
import type { Operation } from "../message.js";
import { idKey } from "./id-key.js";
import type { View } from "./view.js";

/** What an application says has happened, though the database did not. */
export type Told =
  | { operation: "insert" | "update"; document: Document }
  | { operation: "delete"; ids: readonly unknown[] };

/**
 * Nobody is told of a document that they may not see, nor its id.
 *
 * @returns JSON text for the view's audience, or undefined where it is none of its
 */
export function dataOf(view: View, told: Told): string | undefined {
  if (told.operation !== "delete") {
    return view.matches(told.document) ? view.representation.encode(told.document) : undefined;
  }
  const ids = told.ids.filter((id) => view.filter === undefined || view.shown?.has(idKey(id)));
  return ids.length === 0 ? undefined : `[${ids.map((id) => view.representation.encodeId(id)).join(",")}]`;
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
