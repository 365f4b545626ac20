import type { AuthSettings, SessionRequest } from "../config/settings.js";
import { RequestError } from "../errors.js";
import { sessionUser } from "./sessions.js";
import {
  badToken,
  createVerifyToken,
  type Identity,
  identityOf,
  type TokensOptions,
  type VerifyToken,
} from "./tokens.js";

/** The cookie in which a browser carries its token. */
export const tokenCookie = "tailgate_token";

/** Where a request or an upgrade may carry a token, each as it was received. */
export interface Credentials {
  readonly authorization?: string | undefined;
  readonly cookie?: string | undefined;
  /** The `token` parameter of the query; taken only where `auth.queryToken` says so. */
  readonly queryToken?: string | undefined;
  /** What `auth.sessions` is told, where there is such a hook. */
  readonly session?: SessionRequest | undefined;
}

/**
 * Says who asks. Nothing has to be awaited for an anonymous request.
 *
 * @returns the identity; rejects with RequestError 401 `unauthorized` without a token, with what {@link VerifyToken} throws
 *   for one, and with 503 `auth-unavailable` where `auth.sessions` fails
 */
export type Authenticate = (credentials: Credentials) => Identity | Promise<Identity>;

/** The one place that turns credentials into a user. */
export interface Authenticator {
  readonly authenticate: Authenticate;
  /** For a token that came in a message. */
  readonly verifyToken: VerifyToken;
}

const anonymous: Identity = { user: null, endsAt: undefined };

export function createAuthenticator(auth: AuthSettings, options: TokensOptions): Authenticator {
  const { jwt, sessions } = auth;
  const verifyToken = jwt === undefined ? refuseToken : createVerifyToken(jwt, options);

  async function identify(presented: Presented | undefined, session: SessionRequest | undefined): Promise<Identity> {
    // Without `jwt` a token is the application's own, if anyone's.
    if (sessions !== undefined && session !== undefined && (presented === undefined || jwt === undefined)) {
      const user = await sessionUser(sessions, session, options.log);
      if (user !== null) return identityOf(user);
    }
    // A token that is there has to be good, whatever anonymous requests may do: its sender believes to be somebody.
    if (presented !== undefined) {
      if (presented.problem !== undefined) throw badToken(presented.problem);
      return verifyToken(presented.token);
    }
    if (auth.anonymous) return anonymous;
    throw unauthorized();
  }

  return {
    verifyToken,
    authenticate(credentials) {
      const presented = presentedIn(credentials, auth);
      if (presented === undefined && sessions === undefined && auth.anonymous) return anonymous;
      return identify(presented, credentials.session);
    },
  };
}

async function refuseToken(): Promise<never> {
  throw badToken("the token can't be verified: auth.jwt is not configured");
}

function unauthorized(): RequestError {
  return new RequestError(
    401,
    "unauthorized",
    `no token was sent, and anonymous requests are not allowed: send "Authorization: Bearer …" or the cookie ${tokenCookie}`,
  );
}

/** A token, or what is wrong with what stands where one should be. */
type Presented = { token: string; problem?: undefined } | { problem: string };

/** What a page sends on purpose comes first, a cookie comes along unasked. */
function presentedIn(credentials: Credentials, auth: AuthSettings): Presented | undefined {
  const { authorization, queryToken } = credentials;
  if (authorization !== undefined) return bearerIn(authorization);
  if (queryToken !== undefined) {
    return auth.queryToken
      ? { token: queryToken }
      : { problem: "a token in the query is not accepted: send it in a header" };
  }
  const token = cookieIn(credentials.cookie);
  return token === undefined ? undefined : { token };
}

function bearerIn(authorization: string): Presented {
  const token = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization)?.[1];
  if (token !== undefined) return { token };
  return { problem: 'the Authorization header is not of the form "Bearer" and a token' };
}

/** An empty cookie is how many frameworks end a session: it presents nothing. */
function cookieIn(cookie: string | undefined): string | undefined {
  for (const pair of cookie?.split(";") ?? []) {
    const [name, ...value] = pair.split("=");
    if (name?.trim() === tokenCookie)
      return (
        value
          .join("=")
          .trim()
          .replace(/^"(.*)"$/, "$1") || undefined
      );
  }
  return undefined;
}
