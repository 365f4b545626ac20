import type Router from "@koa/router";
import type { Context } from "koa";
import type { Db, Document } from "mongodb";
import type { InterfaceSettings, Settings, User } from "../config/settings.js";
import { type Dispatcher, unknownInterface } from "../dispatcher/dispatcher.js";
import { allowedPathsOf, projectionOf, representationOf } from "../dispatcher/shown.js";
import { RequestError } from "../errors.js";
import { combineFilters, type Filter } from "../filter/parse.js";
import { parseSort } from "../filter/sort.js";
import { bodyOf, jsonBody } from "./body.js";
import { formatCursor, parseCursor, queryTag } from "./cursor.js";
import { idsOf } from "./ids.js";
import { interfacePaths } from "./interface-paths.js";
import { type ListRequest, listRequestOfBody, listRequestOfQuery } from "./list-request.js";
import type { ApiPart } from "./openapi.js";
import { completeSort, readPage } from "./page.js";
import { methodNotAllowed } from "./problem.js";
import { createReads, type ReadLimits } from "./reads.js";
import { userOf } from "./user.js";

export interface InterfacesOptions {
  readonly settings: Settings;
  readonly db: Db;
  readonly dispatcher: Pick<Dispatcher, "readRule">;
  /** The watcher's head: everything up to it is in what is read from now on. */
  readonly head: () => string | undefined;
  readonly readLimits?: ReadLimits;
}

/** An interface and, where the user may not read all of it, which of its documents. */
interface Readable {
  readonly shown: InterfaceSettings;
  readonly rule: Filter | undefined;
}

/** Lists and single documents of the configured interfaces. */
export function interfacesPart(options: InterfacesOptions): ApiPart {
  return { paths: interfacePaths, add: (router) => addInterfaces(router, options) };
}

function addInterfaces(router: Router, options: InterfacesOptions): void {
  const { settings, db, dispatcher } = options;
  const reads = createReads(db, options.readLimits);
  const parseBody = jsonBody(settings.limits.payloadKilobytes * 1_024);

  router.get("/api/:interface", (context) => list(context, (request) => listRequestOfQuery(request.querystring)));
  router.post("/api/:interface/query", checkInterface, parseBody, (context) =>
    list(context, (request) => listRequestOfBody(bodyOf(request))),
  );
  router.get("/api/:interface/:id", item);
  router.all("/api/:interface", otherMethods);
  router.all("/api/:interface/:id", otherMethods);

  /** Only names of the configuration lead to a collection. What a user may not read is not told from what is not there. */
  function interfaceOf(context: Context, user: User | null): Readable {
    const name = parameterOf(context, "interface");
    const found = settings.interfaces.get(name);
    const rule = found !== undefined && dispatcher.readRule(found, user);
    if (found === undefined || rule === false) throw unknownInterface(name);
    return { shown: found, rule: rule === true ? undefined : rule };
  }

  async function checkInterface(context: Context, next: () => Promise<unknown>): Promise<void> {
    interfaceOf(context, userOf(context));
    await next();
  }

  function otherMethods(context: Context): void {
    interfaceOf(context, userOf(context));
    const allowed = methodsOf(context);
    if (context.method !== "OPTIONS") throw methodNotAllowed(context, allowed);
    context.set("Allow", allowed.join(", "));
    context.status = 204;
  }

  async function list(context: Context, requestOf: (context: Context) => ListRequest): Promise<void> {
    const { shown, rule } = interfaceOf(context, userOf(context));
    const request = requestOf(context);
    const allowedPaths = allowedPathsOf(shown);
    const asked = request.filter(allowedPaths);
    const filter = rule === undefined ? asked : combineFilters(asked, rule);
    const sort = parseSort(request.sort, allowedPaths);
    refuseIndexes(sort.map(([path]) => path));
    const keys = completeSort(sort);
    const representation = representationOf(shown, request.fields);
    const tag = queryTag({
      interfaceName: shown.name,
      filter: filter.canonical,
      sort: keys.map(([path, direction]) => `${direction} ${path}`).join(),
      fields: representation.fields,
    });
    const after = request.cursor === undefined ? undefined : parseCursor(request.cursor, tag, keys.length);
    const page = {
      query: filter.query,
      sort: keys,
      projection: projectionOf(shown, representation, keys),
      representation,
      limit: request.limit,
      after,
    };
    // Noted before the read: what is read is at least as new, so that a client can go on from here.
    const position = options.head();
    const { rows, last } = await reads.run(goneSignal(context), (read) =>
      readPage(db.collection(shown.collection), page, read),
    );
    const next = last === undefined ? null : formatCursor(tag, last);
    const rest = JSON.stringify({ next, position: position ?? null }).slice(1);
    send(context, `{"data":[${rows.join(",")}],${rest}`);
  }

  async function item(context: Context): Promise<void> {
    const { shown, rule } = interfaceOf(context, userOf(context));
    if (context.querystring !== "") {
      throw new RequestError(400, "unknown-parameter", "a single document takes no parameters");
    }
    const text = parameterOf(context, "id");
    const ids = idsOf(text);
    const representation = representationOf(shown, undefined);
    const projection = projectionOf(shown, representation, []);
    const found = await reads.run(goneSignal(context), (read) =>
      db
        .collection(shown.collection)
        .find({ $and: [{ _id: { $in: ids } }, rule?.query ?? {}] } as Document, {
          ...read(),
          ...(projection === undefined ? {} : { projection }),
        })
        .toArray(),
    );
    const document = firstById(found, ids);
    if (document === undefined) {
      throw new RequestError(404, "not-found", `there is no document ${JSON.stringify(text)} that you may read`);
    }
    send(context, representation.encode(document));
  }

  function send(context: Context, json: string): void {
    const release = reads.holdUnsent(Buffer.byteLength(json));
    context.res.once("close", release);
    if (context.res.closed) release();
    context.type = "application/json";
    context.body = json;
  }
}

/** @returns the methods of all routes at the request's path, but not of those that stand for every method */
function methodsOf(context: Context): string[] {
  const { matched = [] } = context as { matched?: readonly { readonly methods: readonly string[] }[] };
  const specific = matched.map((layer) => layer.methods).filter((methods) => methods.length <= 2);
  return [...new Set([...specific.flat(), "OPTIONS"])].sort();
}

/** A number in a path can be an index of an array or a key of a document, and the two sort differently. */
function refuseIndexes(paths: readonly string[]): void {
  const path = paths.find((each) => /(^|\.)\d+(\.|$)/.test(each));
  if (path === undefined) return;
  throw new RequestError(400, "bad-sort", `a sort can't go through the number in ${JSON.stringify(path)}`, { path });
}

/** Documents whose ids look the same as text: the first of the ids is meant. */
function firstById(found: readonly Document[], ids: readonly unknown[]): Document | undefined {
  return found.find((document) => document._id === ids[0]) ?? found[0];
}

function goneSignal(context: Context): AbortSignal {
  const gone = new AbortController();
  context.res.once("close", () => gone.abort(new Error("the client went away")));
  if (context.res.closed) gone.abort(new Error("the client went away"));
  return gone.signal;
}

function parameterOf(context: Context, name: string): string {
  return String((context as { params?: Record<string, unknown> }).params?.[name] ?? "");
}
