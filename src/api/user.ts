import type { Context, Middleware } from "koa";
import type { Authenticate } from "../auth/authenticate.js";
import type { SessionRequest, User } from "../config/settings.js";

/**
 * Lets nothing under `/api` through without an answer to who asks. It stands before the routes and not on them, so that
 * a path without a route does not tell a stranger that there is none.
 *
 * @param peerHeader - the header, in lower case, in which the public port tells the client's address
 */
export function authenticated(authenticate: Authenticate, peerHeader: string): Middleware {
  return async (context, next) => {
    if (context.path === "/api" || context.path.startsWith("/api/")) {
      context.set("Cache-Control", "no-store");
      const { authorization, cookie } = context.req.headers;
      const session = sessionRequestOf(context, peerHeader);
      context.state.user = (await authenticate({ authorization, cookie, session })).user;
    }
    await next();
  };
}

/**
 * @returns who asks, or null for an anonymous request
 * @throws Error on a path that {@link authenticated} does not cover, which is a mistake in the program
 */
export function userOf(context: Context): User | null {
  const { user } = context.state as { user?: User | null };
  if (user === undefined) throw new Error(`the route at ${context.path} is not behind authentication`);
  return user;
}

/** @returns the request as `auth.sessions` is told of it */
export function sessionRequestOf(context: Context, peerHeader: string): SessionRequest {
  const { [peerHeader]: peer, ...headers } = context.req.headers;
  return {
    method: context.method,
    url: context.url,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    remoteAddress: String(peer ?? ""),
  };
}
