import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { RequestError } from "../errors.js";
import type { HttpClient } from "../http-client.js";
import type { Logger } from "../log.js";

/** Finds the key for a token, by the token's header. */
export type KeyOf = JWTVerifyGetKey;

/** All times are in milliseconds. */
export interface KeySetTimes {
  /** For fetching the set, retries included: a websocket's handshake may be waiting for it. */
  readonly fetch: number;
  /** After this the set is fetched again, so that a key that was withdrawn is forgotten. */
  readonly maxAge: number;
  /** For a key that is not in the set it is fetched again, but not more often than this: anyone may invent names of keys. */
  readonly cooldown: number;
  /** After a failure nothing is tried for this long. */
  readonly failurePause: number;
}

export const keySetTimes: KeySetTimes = { fetch: 5_000, maxAge: 600_000, cooldown: 10_000, failurePause: 2_000 };

/**
 * The public keys of an issuer, fetched when they are first needed and kept. While they can't be fetched again, those that
 * are known go on to be good: an outage of the issuer's locks nobody out whose key is known.
 *
 * (jose's `createRemoteJWKSet` forgets its keys in an outage, and asks again for each token that comes meanwhile.)
 *
 * @param url - of the JSON Web Key Set (RFC 7517, section 5)
 * @returns a function that throws RequestError 503 `auth-unavailable` where the key may exist but can't be fetched
 */
export function createKeySet(url: string, options: { http: HttpClient; log: Logger; times?: KeySetTimes }): KeyOf {
  const { http, log, times = keySetTimes } = options;
  // Some providers put a key into the address, so that no more than this of it is logged.
  const { host } = new URL(url);
  let keys: KeyOf | undefined;
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let failedAt = Number.NEGATIVE_INFINITY;
  let fetching: Promise<boolean> | undefined;

  /** @returns whether the set is as its issuer has it now; all that ask at the same time wait for one request. */
  async function refresh(): Promise<boolean> {
    if (performance.now() - failedAt < times.failurePause) return false;
    fetching ??= fetchOnce().finally(() => {
      fetching = undefined;
    });
    return fetching;
  }

  async function fetchOnce(): Promise<boolean> {
    // The client's own limits end with the answer's headers; a body may hang as well.
    const signal = AbortSignal.timeout(times.fetch);
    try {
      const set = await http
        .get(url, { signal, redirect: "error", headers: { accept: "application/json" } })
        .json<JSONWebKeySet>();
      keys = createLocalJWKSet(set);
      fetchedAt = performance.now();
      failedAt = Number.NEGATIVE_INFINITY;
      log.debug({ host, keys: set.keys.length }, "key set fetched");
      return true;
    } catch (error) {
      failedAt = performance.now();
      log.warn({ host, reason: reasonOf(error), keysKept: keys !== undefined }, "key set not fetched");
      return false;
    }
  }

  return async (header, token) => {
    if (performance.now() - fetchedAt > times.maxAge) {
      const refreshed = refresh();
      // Once it has failed, nobody waits again for what may take long: known keys have to do until it works.
      if (keys === undefined || failedAt < fetchedAt) await refreshed;
    }
    if (keys === undefined) throw unavailable();
    try {
      return await keys(header, token);
    } catch (error) {
      const mayBeNew = error instanceof errors.JWKSNoMatchingKey && performance.now() - fetchedAt > times.cooldown;
      if (!mayBeNew) throw error;
      if (!(await refresh())) throw unavailable();
      return keys(header, token);
    }
  };
}

function unavailable(): RequestError {
  return new RequestError(
    503,
    "auth-unavailable",
    "tokens can't be checked now, for the keys of their issuer can't be fetched: try again",
  );
}

/** Without the text of the error, which has the whole address in it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  const { response } = error as Error & { response?: Response };
  if (response !== undefined) return `HTTP ${response.status}`;
  const { code } = (error.cause ?? error) as { code?: unknown };
  return typeof code === "string" ? `${error.name} ${code}` : error.name;
}
