import type { Document } from "mongodb";
import type { Format } from "../message.js";
import { encodeKey, encodeValue } from "./json.js";

/** The part of a document that clients see, whole, as JSON text. */
export interface Representation {
  /** The configured paths, or undefined where every field is shown or a function chooses. */
  readonly fields: readonly string[] | undefined;
  /** A part of what a view is. */
  readonly format: Format;
  /**
   * @param bytes - the same document in BSON, if it comes from the database: what is written without loss is made of these
   * @returns the document as clients see it, `_id` shown as `id` and first
   */
  encode(document: Document, bytes?: Uint8Array): string;
  /** @param bytes - a document with this `_id`, in BSON */
  encodeId(id: unknown, bytes?: Uint8Array): string;
  /** @returns false only where the change touched nothing that is shown. */
  mayShow(change: { readonly touched: readonly string[] | undefined }): boolean;
}

/** Which keys to keep, and of each whether all of it or some paths below it. */
export type Selection = Map<string, Selection | "all">;

/** What of a document is shown. */
export interface Shown {
  readonly fields?: readonly string[] | undefined;
  readonly representation?: ((document: Document) => Document) | undefined;
}

/**
 * @param shown.fields - paths such as `state` or `user.name`; through an array a path selects in each of its documents, as
 *   a projection of MongoDB does
 * @param shown.representation - instead of fields, a function of the document; its result is shown as it is
 */
export function createRepresentation(shown: Shown): Representation {
  const { fields, representation } = shown;
  if (representation !== undefined) {
    return {
      fields: undefined,
      format: "json",
      encode: (document) => encodeAll(represent(representation, document)),
      encodeId: encodePlainId,
      mayShow: () => true,
    };
  }
  if (fields === undefined) return everything;
  const selection = selectionOf(fields);
  return {
    fields,
    format: "json",
    encode: (document) => `{${encodeKey("id")}${encodeValue(document._id)}${encodeMembers(document, selection, ",")}}`,
    encodeId: encodePlainId,
    mayShow: ({ touched }) => touched?.some((path) => fields.some((field) => overlaps(path, field))) ?? true,
  };
}

const everything: Representation = {
  fields: undefined,
  format: "json",
  encode: encodeAll,
  encodeId: encodePlainId,
  mayShow: () => true,
};

/** @returns true where one path is the other or lies below it. */
export function overlaps(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`) || throughArray(a, b);
}

/** An update names an array's element (`items.3.name`), a field does not (`items.name`). */
function throughArray(path: string, field: string): boolean {
  if (!/\.\d+(\.|$)/.test(path)) return false;
  const plain = path.replace(/\.\d+(?=\.|$)/g, "");
  const plainField = field.replace(/\.\d+(?=\.|$)/g, "");
  return plain === plainField || plain.startsWith(`${plainField}.`) || plainField.startsWith(`${plain}.`);
}

/** The id stays the document's own, whatever the function leaves out or renames: without it nothing can be replaced by id. */
export function represent(representation: (document: Document) => Document, document: Document): Document {
  const { id: _, ...shown } = representation(document);
  return { ...shown, _id: document._id };
}

function encodePlainId(id: unknown): string {
  return encodeValue(id);
}

function encodeAll(document: Document): string {
  let text = `{${encodeKey("id")}${encodeValue(document._id)}`;
  for (const key of Object.keys(document)) {
    // A field that is itself named `id` would stand twice: `_id` has the name.
    if (key !== "_id" && key !== "id") text += `,${encodeKey(key)}${encodeValue(document[key])}`;
  }
  return `${text}}`;
}

function encodeMembers(document: Document, selection: Selection, lead: string): string {
  let text = "";
  for (const key of Object.keys(document)) {
    const chosen = selection.get(key);
    if (chosen === undefined) continue;
    const encoded = chosen === "all" ? encodeValue(document[key]) : encodeSelected(document[key], chosen);
    if (encoded !== undefined) text += `${text === "" ? lead : ","}${encodeKey(key)}${encoded}`;
  }
  return text;
}

/** @returns undefined for what has no fields to select: a projection leaves such values out, inside arrays too. */
function encodeSelected(value: unknown, selection: Selection): string | undefined {
  if (Array.isArray(value)) {
    const shown = value.map((element) => encodeSelected(element, selection)).filter((text) => text !== undefined);
    return `[${shown.join(",")}]`;
  }
  if (value === null || typeof value !== "object") return undefined;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return undefined;
  return `{${encodeMembers(value as Document, selection, "")}}`;
}

export function selectionOf(fields: readonly string[]): Selection {
  const root: Selection = new Map();
  for (const field of fields) {
    const segments = field.split(".");
    const last = segments.pop() as string;
    let node: Selection | "all" = root;
    for (const segment of segments) {
      const next: Selection | "all" = node.get(segment) ?? new Map();
      if (next === "all") {
        node = "all";
        break;
      }
      node.set(segment, next);
      node = next;
    }
    if (node !== "all") node.set(last, "all");
  }
  // `_id` is shown as `id` in any case, and `id` is its name.
  root.delete("_id");
  root.delete("id");
  return root;
}
