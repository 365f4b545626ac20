import type { SessionLookup, SessionRequest, User } from "../config/settings.js";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";
import { sleep } from "../retry.js";
import { isUser } from "./tokens.js";

/** How long the application may take to find a session, in milliseconds. */
const limitMilliseconds = 10_000;

/**
 * Asks the application who it is.
 *
 * @returns null where it knows nobody
 * @throws RequestError 503 `auth-unavailable` where it fails, takes too long, or returns what is no user; the log says more
 */
export async function sessionUser(lookUp: SessionLookup, request: SessionRequest, log: Logger): Promise<User | null> {
  const waiting = new AbortController();
  try {
    const late = sleep(limitMilliseconds, waiting.signal).then(() => {
      throw new Error(`no answer in ${limitMilliseconds / 1_000} s`);
    });
    // JavaScript code returns undefined where a map has nothing.
    const user: User | null | undefined = await Promise.race([lookUp(request), late]);
    if (user === null || user === undefined) return null;
    if (!isUser(user)) throw new TypeError("what it returned is no user: `sub` has to be text");
    return user;
  } catch (error) {
    log.error({ err: error }, "auth.sessions failed");
    throw new RequestError(503, "auth-unavailable", "who asks can't be found out now: try again");
  } finally {
    waiting.abort();
  }
}
