import { BSON, type Document, ObjectId } from "mongodb";
import { z } from "zod";
import { decoding } from "../database.js";
import { RequestError } from "../errors.js";
import { isPlainObject } from "../filter/limits.js";
import { faultOfKey } from "../filter/paths.js";
import { readValue } from "../filter/values.js";

/** What a merge patch (RFC 7396) says of one field. */
export type Patch =
  | { readonly kind: "remove" }
  | { readonly kind: "set"; readonly value: unknown }
  | { readonly kind: "merge"; readonly members: ReadonlyMap<string, Patch> };

export const mergePatchType = "application/merge-patch+json";

/** The body of `POST /api/{interface}`. Which fields may be in it is each interface's own matter. */
export const newDocumentSchema = z
  .looseObject({
    id: z
      .unknown()
      .describe("a text, number (no Decimal128), ObjectId, UUID or date; left out, it is given")
      .optional(),
  })
  .meta({
    description: "JSON or Extended JSON",
    examples: [{ state: "waiting", due: { $date: "2026-01-31T12:00:00Z" } }],
  });

/** The body of `PATCH /api/{interface}/{id}`. */
export const mergePatchSchema = z.record(z.string(), z.unknown()).meta({
  description: "JSON merge patch (RFC 7396): null removes a field",
  examples: [{ state: "running", due: null }],
});

/** A document to insert. */
export interface NewDocument {
  /** With each number in the type that the body gave it. */
  readonly stored: Document;
  /** The same as the driver would read it, for rules and for what is answered. */
  readonly seen: Document;
}

/** Characters of an id, so that its address is within what a request's head may hold. */
const maxIdLength = 512;

/**
 * Reads the body of `POST /api/{interface}`.
 *
 * @param body - as it was parsed: JSON or Extended JSON
 * @param allowed - the paths that may be written, or undefined for every one
 * @returns the document to insert; its `_id` is the given `id`, or a new ObjectId
 * @throws RequestError 400 `bad-json`, `bad-id`, `bad-value` or `path-not-writable`
 */
export function readDocument(body: unknown, allowed: readonly string[] | undefined): NewDocument {
  const document: Document = { _id: undefined };
  for (const [key, value] of membersOf(body, newDocumentSchema)) {
    if (key === "id") document._id = readId(value);
    else {
      checkWritable(value, key, allowed);
      document[key] = readStored(value, key);
    }
  }
  document._id ??= new ObjectId();
  // What the driver reads has lost the types of its numbers: sent back, 3.0 and an int64 of 3 would become int32.
  return { stored: document, seen: BSON.deserialize(BSON.serialize(document), decoding) };
}

/**
 * Reads the body of `PATCH /api/{interface}/{id}`.
 *
 * @throws RequestError 400 `bad-json`, `bad-value` or `path-not-writable`
 */
export function readPatch(body: unknown, allowed: readonly string[] | undefined): ReadonlyMap<string, Patch> {
  const members = new Map<string, Patch>();
  for (const [key, value] of membersOf(body, mergePatchSchema)) {
    if (key === "id") throw notWritable("id", allowed, "A document keeps its id.");
    members.set(key, readMember(value, key, allowed));
  }
  return members;
}

/** @returns whether a path, or something above it, is among those that may be written */
export function isWritable(path: string, allowed: readonly string[] | undefined): boolean {
  return allowed === undefined || allowed.some((each) => path === each || path.startsWith(`${each}.`));
}

export function notWritable(path: string, allowed: readonly string[] | undefined, more?: string): RequestError {
  const why = more ?? (allowed === undefined ? "" : `These can: ${allowed.join(", ")}.`);
  return new RequestError(400, "path-not-writable", `${JSON.stringify(path)} can't be written. ${why}`.trim(), {
    path,
  });
}

function membersOf(body: unknown, schema: z.ZodType): [string, unknown][] {
  if (!isPlainObject(body) || !schema.safeParse(body).success)
    throw new RequestError(400, "bad-json", "the body has to be a JSON object");
  if (isExtended(body)) throw badValue("", "a document is expected, not a single value.");
  for (const key of Object.keys(body)) {
    checkKey(key, "");
    if (key === "_id") throw notWritable("_id", undefined, "Clients know it as `id`.");
  }
  return Object.entries(body);
}

function readMember(value: unknown, path: string, allowed: readonly string[] | undefined): Patch {
  if (isPlainObject(value) && !isExtended(value)) {
    const members = new Map<string, Patch>();
    for (const [key, each] of Object.entries(value)) {
      checkKey(key, path);
      members.set(key, readMember(each, `${path}.${key}`, allowed));
    }
    if (members.size === 0 && !isWritable(path, allowed)) throw notWritable(path, allowed);
    return { kind: "merge", members };
  }
  if (!isWritable(path, allowed)) throw notWritable(path, allowed);
  return value === null ? { kind: "remove" } : { kind: "set", value: readStored(value, path) };
}

/** Every leaf has to be writable; through an array a path reaches into each of its documents, as when it is shown. */
function checkWritable(value: unknown, path: string, allowed: readonly string[] | undefined): void {
  if (isWritable(path, allowed)) return;
  const inner: [string, unknown][] = Array.isArray(value)
    ? value.map((each) => [path, isPlainObject(each) ? each : undefined])
    : isPlainObject(value) && !isExtended(value)
      ? Object.entries(value).map(([key, each]) => [`${path}.${key}`, each])
      : [];
  if (inner.length === 0) throw notWritable(path, allowed);
  for (const [innerPath, each] of inner) checkWritable(each, innerPath, allowed);
}

/** @returns the value as BSON classes have it; nulls and the order of keys are kept */
function readStored(value: unknown, path: string): unknown {
  if (Array.isArray(value)) return value.map((each, index) => readStored(each, `${path}.${index}`));
  if (isPlainObject(value) && !isExtended(value)) {
    const document: Document = {};
    for (const [key, each] of Object.entries(value)) {
      checkKey(key, path);
      document[key] = readStored(each, `${path}.${key}`);
    }
    return document;
  }
  return readScalar(value, path);
}

function readScalar(value: unknown, path: string): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw badValue(path, 'the number is out of range; {"$numberDouble": "Infinity"} is infinity.');
  }
  let read: unknown;
  try {
    read = readValue(value, path);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    throw new RequestError(400, "bad-value", error.message, { path }, { cause: error });
  }
  if (read instanceof BSON.Timestamp && read.isZero()) {
    throw badValue(path, "the server puts its own time in the place of a timestamp of zero.");
  }
  return read;
}

/** Ids have to be such that the address of the document can be written, and finds it. */
function readId(value: unknown): unknown {
  const right = "an id is a text, a number (no Decimal128), an ObjectId, a UUID or a date.";
  if (Array.isArray(value) || value === null || (isPlainObject(value) && !isExtended(value))) throw badId(right);
  const id = readScalar(value, "id");
  if (typeof id === "string") {
    if (id === "" || id === "." || id === "..") throw badId("this text can't be part of an address.");
    if (id.length > maxIdLength) throw badId(`a text has ${maxIdLength} characters at most.`);
    return id;
  }
  const double: unknown = id instanceof BSON.Double ? id.value : id;
  if (typeof double === "number" && /^-?\d{1,16}(?:\.\d{1,16})?$/.test(String(double))) return id;
  if (id instanceof BSON.Int32 || id instanceof BSON.Long) return id;
  if (id instanceof Date && /^\d{4}-/.test(id.toISOString())) return id;
  if (id instanceof ObjectId || id instanceof BSON.UUID) return id;
  throw badId(right);
}

/** Only the `$` of Extended JSON is let through, and `readValue` checks that its form is right. */
function isExtended(value: Record<string, unknown>): boolean {
  return Object.keys(value).some((key) => key.startsWith("$"));
}

function checkKey(key: string, path: string): void {
  const fault = faultOfKey(key, "A field has a name.");
  if (fault !== undefined) throw badValue(path, fault);
  if (key.includes(".")) throw badValue(path, `the name ${JSON.stringify(key)} can't have a dot in it.`);
}

function badValue(path: string, message: string): RequestError {
  return new RequestError(400, "bad-value", `At ${path === "" ? "the body" : path}: ${message}`, { path });
}

function badId(message: string): RequestError {
  return new RequestError(400, "bad-id", `At id: ${message}`, { path: "id" });
}
