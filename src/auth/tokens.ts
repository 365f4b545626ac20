import type { webcrypto } from "node:crypto";
import { errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from "jose";
import type { JwtSettings, User } from "../config/settings.js";
import { RequestError } from "../errors.js";
import type { HttpClient } from "../http-client.js";
import type { Logger } from "../log.js";
import { createKeySet, type KeyOf } from "./key-set.js";

/** Clocks of issuers differ from this machine's by this many seconds at most. */
const clockToleranceSeconds = 5;

/** No longer token is looked at: the API's heads have no more room either. */
const longestToken = 16_384;

/** Who someone is, and for how long. */
export interface Identity {
  /** Null: anonymous. */
  readonly user: User | null;
  /** When it ends, on the monotonic clock in milliseconds (`performance.now()`); undefined where it does not. */
  readonly endsAt: number | undefined;
}

/**
 * Checks a token, wherever it came from.
 *
 * @throws RequestError 401 `bad-token`, with the member `reason`: `expired` or `invalid`; 503 `auth-unavailable` where the
 *   keys can't be fetched
 */
export type VerifyToken = (token: string) => Promise<Identity>;

export interface TokensOptions {
  /** The shared client, which fetches the key set. */
  readonly http: HttpClient;
  readonly log: Logger;
}

/** What `auth.jwt` says, as a function. */
export function createVerifyToken(jwt: JwtSettings, options: TokensOptions): VerifyToken {
  const keyOf = keysOf(jwt, options);
  const rules: JWTVerifyOptions = {
    algorithms: [...(jwt.algorithms ?? [])],
    clockTolerance: clockToleranceSeconds,
    ...(jwt.issuer !== undefined && { issuer: jwt.issuer }),
    ...(jwt.audience !== undefined && {
      audience: typeof jwt.audience === "string" ? jwt.audience : [...jwt.audience],
    }),
  };
  return async (token) => {
    if (token.length > longestToken) throw badToken(`the token is longer than ${longestToken} characters`);
    let claims: JWTPayload;
    try {
      claims = await claimsOf(token, keyOf, rules);
    } catch (error) {
      // What jose throws holds the claims; it goes no further than here.
      throw error instanceof RequestError ? error : refusalOf(error, options.log);
    }
    if (!isUser(claims)) throw badToken("the token names nobody: its `sub` has to be text");
    return identityOf(claims);
  };
}

/** @returns the error for a token, or for what stands in its place, that proves nothing. */
export function badToken(detail: string, reason: "expired" | "invalid" = "invalid"): RequestError {
  return new RequestError(401, "bad-token", detail, { reason });
}

/** @returns whether these are claims of somebody. */
export function isUser(claims: object): claims is User {
  return "sub" in claims && typeof claims.sub === "string" && claims.sub !== "";
}

/** The wall clock is read once, here: a step of it later moves no end. */
export function identityOf(user: User): Identity {
  const { exp } = user;
  const ends = typeof exp === "number" && Number.isFinite(exp);
  return { user, endsAt: ends ? Math.ceil(performance.now() + exp * 1_000 - Date.now()) : undefined };
}

/**
 * The algorithm chooses the key: a public key can't be mistaken for a shared secret, whatever the token's header says.
 * `algorithms` has been checked by then, so that neither key is asked for what is not configured.
 */
function keysOf({ secret, jwksUrl }: JwtSettings, options: TokensOptions): KeyOf {
  const shared = secret === undefined ? undefined : createSharedKeys(secret);
  const keySet = jwksUrl === undefined ? undefined : createKeySet(jwksUrl, options);
  return async (header, token) => {
    if (header.alg.startsWith("HS")) {
      if (shared !== undefined) return shared(header.alg);
    } else if (keySet !== undefined) {
      return keySet(header, token);
    }
    throw new errors.JOSEAlgNotAllowed();
  };
}

/** The secret as a key of each algorithm, imported once: jose would import it again for every token. */
function createSharedKeys(secret: string): (algorithm: string) => Promise<webcrypto.CryptoKey> {
  const keys = new Map<string, Promise<webcrypto.CryptoKey>>();
  return (algorithm) => {
    const known = keys.get(algorithm);
    if (known !== undefined) return known;
    const hash = `SHA-${algorithm.slice(2)}`;
    const key = crypto.subtle.importKey("raw", Buffer.from(secret), { name: "HMAC", hash }, false, ["verify"]);
    keys.set(algorithm, key);
    return key;
  };
}

async function claimsOf(token: string, keyOf: KeyOf, rules: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keyOf, rules)).payload;
  } catch (error) {
    // A token that does not name its key, and several it could be.
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, rules)).payload;
      } catch (each) {
        if (!(each instanceof errors.JWSSignatureVerificationFailed)) throw each;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

/** Nothing of the token is in the answer: who sent it knows it, and a log need not. */
function refusalOf(error: unknown, log: Logger): RequestError {
  if (error instanceof errors.JWTExpired) return badToken("the token has expired", "expired");
  if (error instanceof errors.JWTClaimValidationFailed) {
    const claim =
      error.claim === "nbf" ? "it is not valid yet (`nbf`)" : `its \`${error.claim}\` is not what it has to be`;
    return badToken(`the token is not valid: ${claim}`);
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return badToken("the token's algorithm is not accepted");
  if (error instanceof errors.JWKSNoMatchingKey) return badToken("no key of the key set fits the token");
  if (error instanceof errors.JWSSignatureVerificationFailed) return badToken("the token's signature is not right");
  if (error instanceof errors.JOSEError) return badToken("the token is no signed JWT that can be read");
  // A key of the set that is no good, such as a short one of RSA: its issuer has to know.
  log.warn({ reason: (error as Error).message }, "token not verified");
  return badToken("the token can't be verified");
}
