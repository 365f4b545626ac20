import type Router from "@koa/router";
import type { Context } from "koa";
import type { Db, Document } from "mongodb";
import type { Settings } from "../config/settings.js";
import type { Dispatcher } from "../dispatcher/dispatcher.js";
import { allowedPathsOf, projectionOf, representationOf } from "../dispatcher/shown.js";
import { RequestError } from "../errors.js";
import type { MatchOptions } from "../filter/compile.js";
import { combineFilters } from "../filter/parse.js";
import { parseSort } from "../filter/sort.js";
import type { Logger } from "../log.js";
import { bodyOf, jsonBody } from "./body.js";
import { formatCursor, parseCursor, queryTag } from "./cursor.js";
import { etagOf, listsEtag } from "./etag.js";
import { itemFormatOf, readings } from "./format.js";
import { idsOf } from "./ids.js";
import { interfacePaths } from "./interface-paths.js";
import { type ListRequest, listRequestOfBody, listRequestOfQuery } from "./list-request.js";
import type { ApiPart } from "./openapi.js";
import { completeSort, readPage } from "./page.js";
import { answerOtherMethods, methodNotAllowed } from "./problem.js";
import type { Reads } from "./reads.js";
import {
  checkNoParameters,
  firstById,
  goneSignal,
  interfaceFinder,
  notFound,
  parameterOf,
  sendJson,
} from "./requests.js";
import { userOf } from "./user.js";
import { addWrites, writeRoute } from "./writes.js";

export interface InterfacesOptions {
  readonly settings: Settings;
  readonly db: Db;
  readonly dispatcher: Pick<Dispatcher, "readRule">;
  /** The watcher's head: everything up to it is in what is read from now on. */
  readonly head: () => string | undefined;
  readonly reads: Reads;
  /** Eight hexadecimal digits of the database's identity; see `position.ts`. */
  readonly tag: () => string;
  /** How the server matches, where that depends on its version. */
  readonly matching: () => MatchOptions;
  readonly log: Logger;
}

/** Lists, single documents and writes of the configured interfaces. */
export function interfacesPart(options: InterfacesOptions): ApiPart {
  return { paths: interfacePaths, add: (router) => addInterfaces(router, options) };
}

function addInterfaces(router: Router, options: InterfacesOptions): void {
  const { settings, db, dispatcher, reads } = options;
  const findInterface = interfaceFinder(settings, dispatcher);
  const parseBody = jsonBody(settings.limits.payloadKilobytes * 1_024);

  router.get("/api/:interface", (context) => list(context, (request) => listRequestOfQuery(request.querystring)));
  router.post("/api/:interface/query", checkInterface, parseBody, (context) =>
    list(context, (request) => listRequestOfBody(bodyOf(request))),
  );
  router.get("/api/:interface/:id", item);
  addWrites(router, {
    ...options,
    findInterface,
    methodNotAllowed: (context) => methodNotAllowed(context, methodsOf(context, false)),
  });
  router.all("/api/:interface", otherMethods);
  router.all("/api/:interface/:id", otherMethods);

  async function checkInterface(context: Context, next: () => Promise<unknown>): Promise<void> {
    findInterface(context, userOf(context));
    checkNoParameters(context);
    await next();
  }

  function otherMethods(context: Context): void {
    const { shown } = findInterface(context, userOf(context));
    answerOtherMethods(context, methodsOf(context, shown.write !== false));
  }

  async function list(context: Context, requestOf: (context: Context) => ListRequest): Promise<void> {
    const { shown, rule } = findInterface(context, userOf(context));
    const request = requestOf(context);
    const allowedPaths = allowedPathsOf(shown);
    const asked = request.filter(allowedPaths);
    const filter = rule === undefined ? asked : combineFilters(asked, rule);
    const sort = parseSort(request.sort, allowedPaths);
    refuseIndexes(sort.map(([path]) => path));
    const keys = completeSort(sort);
    const representation = representationOf(shown, request.fields, request.format);
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
    sendJson(context, reads, `{"data":[${rows.join(",")}],${rest}`);
  }

  async function item(context: Context): Promise<void> {
    const { shown, rule } = findInterface(context, userOf(context));
    const format = itemFormatOf(context.querystring);
    const text = parameterOf(context, "id");
    const ids = idsOf(text);
    const representation = representationOf(shown, undefined, format);
    const projection = projectionOf(shown, representation, []);
    const reading = readings[format];
    const found = await reads.run(goneSignal(context), (read) =>
      db
        .collection(shown.collection)
        .find({ $and: [{ _id: { $in: ids } }, rule?.query ?? {}] } as Document, {
          ...read(),
          ...reading.options,
          ...(projection === undefined ? {} : { projection }),
        })
        .toArray(),
    );
    const rows = found.map(reading.read);
    const document = firstById(
      rows.map((row) => row.document),
      ids,
    );
    if (document === undefined) throw notFound(text);
    const json = representation.encode(document, rows.find((row) => row.document === document)?.bytes);
    const etag = etagOf(json);
    context.set("ETag", etag);
    if (listsEtag(context.get("If-None-Match"), etag, "weak")) context.status = 304;
    else sendJson(context, reads, json);
  }
}

/**
 * @param isWritable - whether the interface has the methods that write
 * @returns the methods of all routes at the request's path, but not of those that stand for every method
 */
function methodsOf(context: Context, isWritable: boolean): string[] {
  type Layer = { readonly name?: string | null; readonly methods: readonly string[] };
  const { matched = [] } = context as { matched?: readonly Layer[] };
  const present = matched.filter((layer) => isWritable || layer.name !== writeRoute);
  const specific = present.map((layer) => layer.methods).filter((methods) => methods.length <= 2);
  return [...new Set([...specific.flat(), "OPTIONS"])].sort();
}

/** A number in a path can be an index of an array or a key of a document, and the two sort differently. */
function refuseIndexes(paths: readonly string[]): void {
  const path = paths.find((each) => /(^|\.)\d+(\.|$)/.test(each));
  if (path === undefined) return;
  throw new RequestError(400, "bad-sort", `a sort can't go through the number in ${JSON.stringify(path)}`, { path });
}
