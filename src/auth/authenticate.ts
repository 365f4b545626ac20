import type { AuthSettings, User } from "../config/settings.js";
import { RequestError } from "../errors.js";

/** The cookie in which a browser carries its token. */
export const tokenCookie = "tailgate_token";

/** Where a request or an upgrade may carry a token, each as it was received. */
export interface Credentials {
  readonly authorization?: string | undefined;
  readonly cookie?: string | undefined;
  /** The `token` parameter of the query; taken only where `auth.queryToken` says so. */
  readonly queryToken?: string | undefined;
}

/**
 * Says who asks.
 *
 * @returns the user, or null for an anonymous request where those are allowed
 * @throws RequestError 401 `unauthorized` without a token, `bad-token` with one that can't be verified
 */
export type Authenticate = (credentials: Credentials) => Promise<User | null>;

/** The one place that turns credentials into a user. */
export function createAuthenticate(auth: AuthSettings): Authenticate {
  return async (credentials) => {
    const token = tokenIn(credentials, auth);
    // A token that is there has to be good, whatever anonymous requests may do: its sender believes to be somebody.
    if (token !== undefined) throw badToken("the token can't be verified: auth.jwt is not configured");
    if (auth.anonymous) return null;
    throw new RequestError(
      401,
      "unauthorized",
      `no token was sent, and anonymous requests are not allowed: send "Authorization: Bearer …" or the cookie ${tokenCookie}`,
    );
  };
}

/** The header comes first: a page that sends one means it, a cookie comes along unasked. */
function tokenIn(credentials: Credentials, auth: AuthSettings): string | undefined {
  if (credentials.authorization !== undefined) return bearerIn(credentials.authorization);
  return cookieIn(credentials.cookie) ?? (auth.queryToken ? credentials.queryToken : undefined);
}

function bearerIn(authorization: string): string {
  const token = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization)?.[1];
  if (token === undefined) throw badToken('the Authorization header is not of the form "Bearer" and a token');
  return token;
}

function cookieIn(cookie: string | undefined): string | undefined {
  for (const pair of cookie?.split(";") ?? []) {
    const [name, ...value] = pair.split("=");
    if (name?.trim() === tokenCookie) return value.join("=").trim();
  }
  return undefined;
}

function badToken(detail: string): RequestError {
  return new RequestError(401, "bad-token", detail);
}
