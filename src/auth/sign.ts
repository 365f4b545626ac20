import { SignJWT } from "jose";
import type { JwtSettings } from "../config/settings.js";
import { ConfigurationError } from "../errors.js";

export interface TokenRequest {
  readonly sub: string;
  /** Further claims; they take the place of `iss` and `aud` of the settings. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly ttlSeconds: number;
}

/**
 * Signs a token that a gateway with the same settings accepts.
 *
 * @throws ConfigurationError where no shared secret is configured, or no algorithm for one
 */
export async function signToken(jwt: JwtSettings | undefined, request: TokenRequest): Promise<string> {
  const { secret, algorithms = [], issuer, audience } = jwt ?? {};
  if (secret === undefined) {
    throw new ConfigurationError(
      "a token can't be signed without a shared secret. Add one to the configuration: auth: { jwt: { secret: … } }; `openssl rand -base64 32` makes one. Tokens that are checked by auth.jwt.jwksUrl come from their issuer",
    );
  }
  const algorithm = algorithms.find((name) => name.startsWith("HS"));
  if (algorithm === undefined) {
    throw new ConfigurationError(
      `a token can't be signed: auth.jwt.algorithms has none for a shared secret. Add HS256 to ${algorithms.join(", ")}`,
    );
  }
  const issuedAt = Math.floor(Date.now() / 1_000);
  const claims = {
    ...(issuer !== undefined && { iss: issuer }),
    ...(audience !== undefined && { aud: typeof audience === "string" ? audience : audience[0] }),
    ...request.claims,
    sub: request.sub,
    iat: issuedAt,
    exp: issuedAt + request.ttlSeconds,
  };
  return new SignJWT(claims).setProtectedHeader({ alg: algorithm, typ: "JWT" }).sign(Buffer.from(secret));
}
