import type { Document } from "mongodb";
import { documentOf } from "../filter/bson.js";
import { isWritable, notWritable, type Patch } from "./writes-values.js";

/** A merge patch, as one document takes it. */
export interface AppliedPatch {
  /** The document after it. */
  readonly after: Document;
  readonly update: { readonly $set?: Document; readonly $unset?: Document };
  /** The names of the fields that it changes. */
  readonly touched: ReadonlySet<string>;
  /** Conditions under which the update does what the patch says: what was taken for a sub-document still is one. */
  readonly shape: readonly Document[];
}

interface Collected {
  readonly set: Map<string, unknown>;
  readonly unset: Map<string, unknown>;
  readonly shape: Document[];
  readonly allowed: readonly string[] | undefined;
}

/**
 * Applies a merge patch to what a document is now. Only what it names is written: a field that others write at the same
 * time is left alone, and so are values that JavaScript could not give back as they were.
 *
 * @param before - whole, as the driver reads it
 * @param allowed - the paths that may be written, or undefined for every one
 * @throws RequestError 400 `path-not-writable` where it would put a sub-document in the place of a value that is hidden
 */
export function applyPatch(
  before: Document,
  patch: ReadonlyMap<string, Patch>,
  allowed: readonly string[] | undefined,
): AppliedPatch {
  const collected: Collected = { set: new Map(), unset: new Map(), shape: [], allowed };
  const after = merged(before, patch, "", collected);
  const { set, unset, shape } = collected;
  return {
    after,
    update: {
      ...(set.size === 0 ? {} : { $set: Object.fromEntries(set) }),
      ...(unset.size === 0 ? {} : { $unset: Object.fromEntries(unset) }),
    },
    touched: new Set(patch.keys()),
    shape,
  };
}

/** @returns conditions under which the named fields of a document are what they were when it was read */
export function unchanged(document: Document, names: Iterable<string>): Document[] {
  return [...names].map((name) =>
    Object.hasOwn(document, name)
      ? { $expr: { $eq: [`$${name}`, { $literal: document[name] }] } }
      : { [name]: { $exists: false } },
  );
}

/** @returns a condition under which a whole document is what it was when it was read */
export function unchangedAll(document: Document): Document {
  return { $expr: { $eq: ["$$ROOT", { $literal: document }] } };
}

function merged(target: Document, patch: ReadonlyMap<string, Patch>, prefix: string, into: Collected): Document {
  const result: Document = { ...target };
  for (const [key, each] of patch) {
    const path = `${prefix}${key}`;
    if (each.kind === "remove") {
      delete result[key];
      into.unset.set(path, "");
    } else if (each.kind === "set") {
      result[key] = each.value;
      into.set.set(path, each.value);
    } else {
      result[key] = mergedMember(target, key, each.members, path, into);
    }
  }
  return result;
}

function mergedMember(
  target: Document,
  key: string,
  members: ReadonlyMap<string, Patch>,
  path: string,
  into: Collected,
): Document {
  const present: unknown = Object.hasOwn(target, key) ? target[key] : undefined;
  const inner = documentOf(present);
  const type = { $type: `$${path}` };
  if (inner !== undefined) {
    into.shape.push({ $expr: { $eq: [type, "object"] } });
    return merged(inner, members, `${path}.`, into);
  }
  // What is there gives way to a sub-document, as RFC 7396 has it: the parts of it that are hidden too.
  if (present !== undefined && present !== null && !isWritable(path, into.allowed)) {
    throw notWritable(path, into.allowed, "It holds a value that is no sub-document.");
  }
  into.shape.push(
    isWritable(path, into.allowed)
      ? { $expr: { $ne: [type, "object"] } }
      : { $expr: { $in: [type, ["missing", "null"]] } },
  );
  const fresh = freshDocument(members);
  into.set.set(path, fresh);
  return fresh;
}

function freshDocument(members: ReadonlyMap<string, Patch>): Document {
  const document: Document = {};
  for (const [key, each] of members) {
    if (each.kind === "set") document[key] = each.value;
    else if (each.kind === "merge") document[key] = freshDocument(each.members);
  }
  return document;
}
