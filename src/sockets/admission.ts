import type { Authenticate } from "../auth/authenticate.js";
import type { Identity } from "../auth/tokens.js";
import type { Settings } from "../config/settings.js";
import type { Dispatcher } from "../dispatcher/dispatcher.js";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";
import { closeCodes, type Format, formats, subprotocol } from "../message.js";
import { type Admission, noViews, type Refusal } from "./connection.js";
import { originAllowed } from "./origins.js";
import type { UpgradeRequest } from "./upgrade-request.js";

export interface AdmissionOptions {
  readonly settings: Settings;
  readonly authenticate: Authenticate;
  readonly dispatcher: Dispatcher;
  readonly log: Logger;
}

const parameters = new Set(["interfaces", "format", "token"]);

/**
 * Decides about a websocket before it opens.
 *
 * @returns the decision, or where a token has to be checked a promise of it, which never rejects
 */
export function admit(request: UpgradeRequest, options: AdmissionOptions): Admission | Promise<Admission> {
  const refusal = refusalOf(request, options.settings);
  if (refusal !== undefined) return { refusal };
  const identity = options.authenticate({
    authorization: request.authorization,
    cookie: request.cookie,
    queryToken: request.query.get("token") ?? undefined,
    session: request.session,
  });
  if (!(identity instanceof Promise)) return follow(request, identity, options);
  return identity.then(
    (known) => follow(request, known, options),
    (error: unknown) => {
      // No token, where the protocol has a message for it.
      const comesLater = isLive(request) && error instanceof RequestError && error.code === "unauthorized";
      return comesLater ? { mode: "live", user: undefined, endsAt: undefined, views: noViews } : refuse(error, options);
    },
  );
}

function isLive(request: UpgradeRequest): boolean {
  return request.protocols.includes(subprotocol);
}

function refusalOf(request: UpgradeRequest, settings: Settings): Refusal | undefined {
  if (!originAllowed(request.origin, request.host, settings.allowedOrigins)) {
    return { code: closeCodes.forbidden, reason: `origin ${request.origin} is not in allowedOrigins` };
  }
  if (request.protocols.length > 0 && !request.protocols.includes(subprotocol)) {
    // Not named: some clients carry a token there.
    return { code: closeCodes.unknownSubprotocol, reason: "the subprotocol is not known: connect without one" };
  }
  for (const name of request.query.keys()) {
    if (!parameters.has(name)) {
      return { code: closeCodes.malformed, reason: `unknown parameter ${name}: there are interfaces and format` };
    }
  }
  return formatRefusal(request);
}

function formatRefusal(request: UpgradeRequest): Refusal | undefined {
  const asked = request.query.getAll("format");
  if (asked.length === 0) return undefined;
  const code = closeCodes.malformed;
  if (isLive(request)) return { code, reason: "each subscription has a format of its own: leave it out of the query" };
  return formatIn(asked) === undefined ? { code, reason: `format is one of ${formats.join(", ")}` } : undefined;
}

function follow(request: UpgradeRequest, identity: Identity, options: AdmissionOptions): Admission {
  const { user, endsAt } = identity;
  // The tolerance for other clocks is for single requests: a connection would be closed as soon as it is open.
  if (endsAt !== undefined && endsAt <= performance.now()) return { refusal: expired(options.settings) };
  if (isLive(request)) return { mode: "live", user, endsAt, views: noViews };
  try {
    return {
      mode: "plain",
      user,
      endsAt,
      views: options.dispatcher.follow(
        namesIn(request.query.getAll("interfaces")),
        user,
        formatIn(request.query.getAll("format")),
      ),
    };
  } catch (error) {
    return refuse(error, options);
  }
}

/** Why a connection ends whose token is no longer good. */
export function expired(settings: Settings): Refusal {
  return { code: settings.auth.closeCode, reason: "the token has expired" };
}

function refuse(error: unknown, { settings, log }: AdmissionOptions): Admission {
  if (error instanceof RequestError && error.status < 500) {
    const code = error.status === 401 ? settings.auth.closeCode : closeCodes.malformed;
    return { refusal: { code, reason: error.message } };
  }
  if (error instanceof RequestError) return { refusal: { code: closeCodes.internal, reason: error.message } };
  log.error({ err: error }, "connection not admitted");
  return { refusal: { code: closeCodes.internal, reason: "internal" } };
}

function namesIn(lists: readonly string[]): readonly string[] | undefined {
  return lists.length === 0 ? undefined : lists.flatMap((list) => list.split(",")).map((name) => name.trim());
}

/** @returns undefined for none, for more than one, and for one that is not known */
function formatIn(asked: readonly string[]): Format | undefined {
  return asked.length === 1 ? formats.find((each) => each === asked[0]) : undefined;
}
