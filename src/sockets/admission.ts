import type { Settings, User } from "../config/settings.js";
import type { Dispatcher } from "../dispatcher/dispatcher.js";
import type { View } from "../dispatcher/view.js";
import { TailgateError } from "../errors.js";
import { closeCodes } from "../message.js";
import type { Refusal } from "./connection.js";

/** What an upgrade request says, read before anything is awaited: uWebSockets takes the request back after its handler. */
export interface UpgradeRequest {
  readonly host: string;
  readonly origin: string | undefined;
  readonly authorization: string | undefined;
  readonly cookie: string | undefined;
  readonly query: URLSearchParams;
  /** The subprotocols that the client offers, in its order. */
  readonly protocols: readonly string[];
}

/** Admitted with the views to follow, or refused with a close code. */
export type Admission = { user: User | null; views: readonly View[] } | { refusal: Refusal };

const parameters = new Set(["interfaces", "token"]);

/** Decides about a websocket before it opens. */
export function admit(request: UpgradeRequest, settings: Settings, dispatcher: Dispatcher): Admission {
  if (!originAllowed(request, settings.allowedOrigins)) {
    return refuse(closeCodes.forbidden, `origin ${request.origin} is not in allowedOrigins`);
  }
  if (request.protocols.length > 0) {
    return refuse(
      closeCodes.unknownSubprotocol,
      `subprotocol ${request.protocols[0]} is not known: connect without one`,
    );
  }
  for (const name of request.query.keys()) {
    if (!parameters.has(name)) return refuse(closeCodes.malformed, `unknown parameter ${name}: there is interfaces`);
  }
  if (hasToken(request))
    return refuse(settings.auth.closeCode, "the token can't be verified: auth.jwt is not configured");
  if (!settings.auth.anonymous) return refuse(settings.auth.closeCode, "no token, and auth.anonymous is off");
  try {
    return { user: null, views: dispatcher.follow(namesIn(request.query.get("interfaces")), null) };
  } catch (error) {
    if (error instanceof TailgateError) return refuse(closeCodes.malformed, error.message);
    throw error;
  }
}

function refuse(code: number, reason: string): Admission {
  return { refusal: { code, reason } };
}

/** A page of another site sends its own origin; a program sends none. */
function originAllowed(request: UpgradeRequest, allowed: readonly string[]): boolean {
  if (request.origin === undefined) return true;
  if (allowed.length > 0) return allowed.includes(request.origin);
  return URL.canParse(request.origin) && new URL(request.origin).host === request.host;
}

function hasToken(request: UpgradeRequest): boolean {
  const inCookie = request.cookie?.split(";").some((pair) => pair.trim().startsWith("tailgate_token=")) ?? false;
  return inCookie || request.authorization !== undefined || request.query.has("token");
}

function namesIn(list: string | null): readonly string[] | undefined {
  return list === null ? undefined : list.split(",").map((name) => name.trim());
}
