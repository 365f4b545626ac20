import type { SessionRequest } from "../config/settings.js";
import { addressText } from "./front-headers.js";
import type { HttpRequest, HttpResponse } from "./uws.js";

/** What an upgrade request says, read before anything is awaited: uWebSockets takes the request back after its handler. */
export interface UpgradeRequest {
  readonly host: string;
  readonly origin: string | undefined;
  readonly authorization: string | undefined;
  readonly cookie: string | undefined;
  readonly query: URLSearchParams;
  /** The subprotocols that the client offers, in its order. */
  readonly protocols: readonly string[];
  /** The whole request for `auth.sessions`; undefined where there is no such hook. */
  readonly session: SessionRequest | undefined;
}

/**
 * Everything is read here and now: the request is valid only until the handler returns.
 *
 * @param res - where the application is to be told of the whole request
 */
export function readUpgrade(req: HttpRequest, res: HttpResponse | undefined): UpgradeRequest {
  const header = (name: string): string | undefined => req.getHeader(name) || undefined;
  return {
    host: req.getHeader("host"),
    origin: header("origin"),
    authorization: header("authorization"),
    cookie: header("cookie"),
    query: new URLSearchParams(req.getQuery()),
    protocols: (header("sec-websocket-protocol") ?? "")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== ""),
    session: res === undefined ? undefined : sessionRequestOf(req, res),
  };
}

function sessionRequestOf(req: HttpRequest, res: HttpResponse): SessionRequest {
  const headers: [name: string, value: string][] = [];
  req.forEach((name, value) => {
    headers.push([name, value]);
  });
  // Undefined without a question mark, which the types leave out.
  const query = req.getQuery() as string | undefined;
  return {
    method: req.getCaseSensitiveMethod(),
    url: query === undefined ? req.getUrl() : `${req.getUrl()}?${query}`,
    headers: Object.fromEntries(headers),
    remoteAddress: addressText(res.getRemoteAddress()),
  };
}
