import type { Context } from "koa";
import type { Document } from "mongodb";
import type { InterfaceSettings, Settings, User } from "../config/settings.js";
import { type Dispatcher, unknownInterface } from "../dispatcher/dispatcher.js";
import { RequestError } from "../errors.js";
import type { Filter } from "../filter/parse.js";
import type { Reads } from "./reads.js";

/** An interface and, where the user may not read all of it, which of its documents. */
export interface Readable {
  readonly shown: InterfaceSettings;
  readonly rule: Filter | undefined;
}

/** @throws RequestError 404 `unknown-interface` */
export type FindInterface = (context: Context, user: User | null) => Readable;

/** Only names of the configuration lead to a collection. What a user may not read is not told from what is not there. */
export function interfaceFinder(settings: Settings, dispatcher: Pick<Dispatcher, "readRule">): FindInterface {
  return (context, user) => {
    const name = parameterOf(context, "interface");
    const found = settings.interfaces.get(name);
    const rule = found !== undefined && dispatcher.readRule(found, user);
    if (found === undefined || rule === false) throw unknownInterface(name);
    return { shown: found, rule: rule === true ? undefined : rule };
  };
}

/** Sends JSON text, counted among what clients have not taken yet. */
export function sendJson(context: Context, reads: Reads, json: string): void {
  const release = reads.holdUnsent(Buffer.byteLength(json));
  context.res.once("close", release);
  if (context.res.closed) release();
  context.type = "application/json";
  context.body = json;
}

/**
 * Middleware of routes that take no parameters.
 *
 * @throws RequestError 400 `unknown-parameter`
 */
export async function refuseParameters(context: Context, next: () => Promise<unknown>): Promise<void> {
  checkNoParameters(context);
  await next();
}

/** @throws RequestError 400 `unknown-parameter` where a request that takes no parameters has some */
export function checkNoParameters({ method, querystring }: Context): void {
  if (querystring === "") return;
  throw new RequestError(400, "unknown-parameter", `${method} takes no parameters in the URL here`);
}

/** The same for what is not there and for what is hidden. */
export function notFound(id: string): RequestError {
  return new RequestError(404, "not-found", `there is no document ${JSON.stringify(id)} that you may reach`);
}

/** Documents whose ids look the same as text: the first of the ids is meant. */
export function firstById(found: readonly Document[], ids: readonly unknown[]): Document | undefined {
  return found.find((document) => document._id === ids[0]) ?? found[0];
}

export function goneSignal(context: Context): AbortSignal {
  const gone = new AbortController();
  context.res.once("close", () => gone.abort(new Error("the client went away")));
  if (context.res.closed) gone.abort(new Error("the client went away"));
  return gone.signal;
}

export function parameterOf(context: Context, name: string): string {
  return String((context as { params?: Record<string, unknown> }).params?.[name] ?? "");
}
