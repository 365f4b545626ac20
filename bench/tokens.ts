import { SignJWT } from "jose";

/** Of gateways that live for one turn and listen on this machine alone. */
export const tokenSecret = "the benchmarks' own secret, of 32 bytes or more";

/** @returns a token that a gateway with `tokenSecret` accepts for an hour */
export function signToken(sub: string): Promise<string> {
  const token = new SignJWT({ sub }).setProtectedHeader({ alg: "HS256", typ: "JWT" });
  return token.setIssuedAt().setExpirationTime("1h").sign(Buffer.from(tokenSecret));
}
