import type Router from "@koa/router";
import type { Context } from "koa";
import type { ClientSession, Collection, Db, Document } from "mongodb";
import { resolveRule } from "../auth/rules.js";
import type { InterfaceSettings, Settings, User } from "../config/settings.js";
import { decoding } from "../database.js";
import { createRepresentation } from "../dispatcher/representation.js";
import { allowedPathsOf, representationOf } from "../dispatcher/shown.js";
import { RequestError } from "../errors.js";
import { compileFilter, type MatchOptions } from "../filter/compile.js";
import type { Filter } from "../filter/parse.js";
import type { Logger } from "../log.js";
import { formatPosition } from "../position.js";
import { createBackoff, sleep } from "../retry.js";
import { jsonBody, requiredBodyOf } from "./body.js";
import { etagOf, listsEtag } from "./etag.js";
import { idsOf } from "./ids.js";
import type { ReadOptions, Reads } from "./reads.js";
import {
  checkNoParameters,
  type FindInterface,
  firstById,
  goneSignal,
  notFound,
  parameterOf,
  sendJson,
} from "./requests.js";
import { userOf } from "./user.js";
import { writeErrorOf } from "./writes-errors.js";
import { applyPatch, unchanged, unchangedAll } from "./writes-patch.js";
import { mergePatchType, readDocument, readPatch } from "./writes-values.js";

/** The name of routes that an interface without a `write` rule does not have. */
export const writeRoute = "write";

/** Attempts at a write whose document others change meanwhile. */
const maxAttempts = 20;

export interface WritesOptions {
  readonly settings: Settings;
  readonly db: Db;
  /** Eight hexadecimal digits of the database's identity; see `position.ts`. */
  readonly tag: () => string;
  /** How the server matches, where that depends on its version. */
  readonly matching: () => MatchOptions;
  readonly log: Logger;
  readonly reads: Reads;
  readonly findInterface: FindInterface;
  /** @returns the error for a method that the path does not have */
  readonly methodNotAllowed: (context: Context) => RequestError;
}

/** An interface with what of it the user may read and write. */
interface Target {
  readonly shown: InterfaceSettings;
  readonly user: User | null;
  readonly collection: Collection<Document>;
  readonly read: Filter | undefined;
  readonly write: Filter | undefined;
  /** The paths that clients may write, or undefined for every one. */
  readonly allowed: readonly string[] | undefined;
  readonly encode: (document: Document) => string;
}

/** A document that is about to be changed, and the condition under which all that was decided about it holds. */
interface Found {
  readonly document: Document;
  readonly condition: (more?: readonly Document[]) => Document;
}

/** `POST /api/{interface}`, `PATCH /api/{interface}/{id}` and `DELETE /api/{interface}/{id}`. */
export function addWrites(router: Router, options: WritesOptions): void {
  const { settings, db, log } = options;
  const limitBytes = settings.limits.payloadKilobytes * 1_024;
  const parseDocument = jsonBody(limitBytes);
  const parsePatch = jsonBody(limitBytes, [mergePatchType]);

  router.post(writeRoute, "/api/:interface", checkWrite, parseDocument, insert);
  router.patch(writeRoute, "/api/:interface/:id", checkWrite, parsePatch, patch);
  router.delete(writeRoute, "/api/:interface/:id", checkWrite, remove);

  function matches(rule: Filter | undefined, document: Document): boolean {
    return rule === undefined || compileFilter(rule, options.matching())(document);
  }

  /** Before a body is read. Users whom the write rule allows nothing are answered as if it allowed them other documents. */
  async function checkWrite(context: Context, next: () => Promise<unknown>): Promise<void> {
    const user = userOf(context);
    const { shown, rule } = options.findInterface(context, user);
    if (shown.write === false) throw options.methodNotAllowed(context);
    checkNoParameters(context);
    const write = resolveRule(shown.write, user);
    if (write === false) throw denied(context, { shown, user });
    const target: Target = {
      shown,
      user,
      collection: db.collection(shown.collection),
      read: rule,
      write: write === true ? undefined : write,
      allowed: allowedPathsOf(shown),
      encode: representationOf(shown, undefined).encode,
    };
    context.state.writeTarget = target;
    await next();
  }

  async function insert(context: Context): Promise<void> {
    const target = targetOf(context);
    const { stored, seen } = readDocument(requiredBodyOf(context), target.allowed);
    if (!matches(target.write, seen)) throw denied(context, target);
    await run(context, target, async (session, limits) => {
      const { maxTimeMS } = limits();
      await target.collection.insertOne(stored, { session, writeConcern, ...(maxTimeMS && { maxTimeMS }) });
    });
    context.status = 201;
    const { id } = JSON.parse(idOnly(seen)) as { id: unknown };
    context.set("Location", `/api/${target.shown.name}/${encodeURIComponent(String(id))}`);
    answer(context, target, seen);
  }

  async function patch(context: Context): Promise<void> {
    const target = targetOf(context);
    const members = readPatch(requiredBodyOf(context), target.allowed);
    const ruleNames = rootsOf(target.write?.paths ?? []);
    const stored = await run(context, target, (session, limits) =>
      persistently(
        limits,
        () => find(context, target, session, limits),
        async ({ document, condition }) => {
          const { after, update, touched, shape } = applyPatch(document, members, target.allowed);
          if (!matches(target.write, after)) throw denied(context, target, 403);
          if (update.$set === undefined && update.$unset === undefined) return document;
          // The rule was asked of a document that is not stored yet: what it looked at must not have changed until then.
          const decided = [...ruleNames].some((name) => touched.has(name)) ? unchanged(document, ruleNames) : [];
          const options = { ...writing(limits), session, returnDocument: "after" } as const;
          return target.collection.findOneAndUpdate(condition([...shape, ...decided]), update, options);
        },
      ),
    );
    answer(context, target, stored);
  }

  async function remove(context: Context): Promise<void> {
    const target = targetOf(context);
    await run(context, target, (session, limits) =>
      persistently(
        limits,
        () => find(context, target, session, limits),
        ({ condition }) => target.collection.findOneAndDelete(condition(), { ...writing(limits), session }),
      ),
    );
    context.status = 204;
  }

  /** In a session of its own, which tells at which place of the history the write is. */
  async function run<Result>(
    context: Context,
    target: Target,
    work: (session: ClientSession, limits: () => ReadOptions) => Promise<Result>,
  ): Promise<Result> {
    const session = db.client.startSession();
    try {
      const result = await options.reads.run(goneSignal(context), async (limits) => {
        try {
          return await work(session, limits);
        } catch (error) {
          throw writeErrorOf(error, target.allowed);
        }
      });
      const { operationTime } = session;
      if (operationTime === undefined) throw new Error("the database told no time of the operation");
      const seconds = operationTime.getHighBitsUnsigned();
      const increment = operationTime.getLowBitsUnsigned();
      context.set("Tailgate-Position", formatPosition({ seconds, increment, ordinal: 1, tag: options.tag() }));
      return result;
    } finally {
      await session.endSession();
    }
  }

  /** @throws RequestError 404 `not-found`, 412 `precondition-failed` */
  async function find(
    context: Context,
    target: Target,
    session: ClientSession,
    limits: () => ReadOptions,
  ): Promise<Found> {
    const text = parameterOf(context, "id");
    const ids = idsOf(text);
    const all = await target.collection
      .find({ _id: { $in: ids } } as Document, {
        ...limits(),
        // The newest state, and not what a majority has already: the write itself waits for the majority.
        readConcern: { level: "local" },
        readPreference: "primary",
        session,
      })
      .toArray();
    const readable = all.filter((document) => matches(target.read, document));
    const document = firstById(readable, ids);
    if (document === undefined) {
      if (all.length > 0) logDenial(context, target, "read");
      throw notFound(text);
    }
    if (!matches(target.write, document)) throw denied(context, target);
    const pinned = preconditionOf(context, target, document);
    const rules = [target.read, target.write].flatMap((rule) => (rule === undefined ? [] : [rule.query]));
    return {
      document,
      condition: (more = []) => ({ $and: [{ _id: document._id }, ...rules, ...pinned, ...more] }),
    };
  }

  /** A document that the rule keeps from a user is not there for writing; one that may not come to be is refused. */
  function denied(context: Context, target: Pick<Target, "shown" | "user">, status?: 403): RequestError {
    logDenial(context, target, "write");
    if (status !== 403 && context.method !== "POST") return notFound(parameterOf(context, "id"));
    return new RequestError(403, "not-allowed", "you may not write a document like this");
  }

  function logDenial(context: Context, { shown, user }: Pick<Target, "shown" | "user">, rule: "read" | "write"): void {
    log.info(
      { interface: shown.name, rule, method: context.method, user: user?.sub ?? null },
      "write denied by a rule",
    );
  }

  function answer(context: Context, target: Target, document: Document): void {
    // A user may write what they may not read, such as a document that they hand over to someone else.
    const isVisible = matches(target.read, document);
    const json = isVisible ? target.encode(document) : idOnly(document);
    if (isVisible) context.set("ETag", etagOf(json));
    sendJson(context, options.reads, json);
  }
}

/** A write is answered when a majority has it, so that no failover takes it back. */
const writeConcern = { w: "majority", wtimeoutMS: 10_000 } as const;

function writing(limits: () => ReadOptions) {
  const { maxTimeMS, collation } = limits();
  return {
    ...decoding,
    writeConcern,
    ...(maxTimeMS === undefined ? {} : { maxTimeMS }),
    // That of the reads: a rule has to mean the same in both.
    ...(collation === undefined ? {} : { collation }),
  };
}

/**
 * Looks and writes until nobody has changed the document in between. What is looked at decides each time anew.
 *
 * @param attempt - gives null where the document is no longer what it was
 * @throws RequestError 409 `conflict` where others are faster again and again
 */
async function persistently(
  limits: () => ReadOptions,
  look: () => Promise<Found>,
  attempt: (found: Found) => Promise<Document | null>,
): Promise<Document> {
  const backoff = createBackoff({ baseMilliseconds: 2, maxMilliseconds: 100 });
  for (let count = 0; count < maxAttempts; count += 1) {
    const done = await attempt(await look());
    if (done !== null) return done;
    await sleep(backoff.next(), limits().signal);
  }
  throw new RequestError(409, "conflict", "others keep changing the document: try again");
}

/**
 * @returns conditions under which the document still has the entity tag that the client named
 * @throws RequestError 412 `precondition-failed` where it does not have it now
 */
function preconditionOf(context: Context, target: Target, document: Document): Document[] {
  const header = context.get("If-Match");
  if (header === "") return [];
  if (!listsEtag(header, etagOf(target.encode(document)), "strong")) {
    throw new RequestError(412, "precondition-failed", "the document has changed since: get it again");
  }
  if (header.trim() === "*") return [];
  const { fields, representation } = target.shown;
  return fields === undefined || representation !== undefined
    ? [unchangedAll(document)]
    : unchanged(document, rootsOf(fields));
}

function targetOf(context: Context): Target {
  return (context.state as { writeTarget: Target }).writeTarget;
}

/** @returns the names of the top-level fields that paths lead through */
function rootsOf(paths: readonly string[]): ReadonlySet<string> {
  return new Set(paths.map((path) => path.split(".", 1)[0] ?? path));
}

function idOnly(document: Document): string {
  return createRepresentation({ fields: [] }).encode({ _id: document._id });
}
