import type { JwtSettings } from "./settings.js";

/** RFC 7518, section 3.2: a key at least as long as the hash. A shorter one can be searched for offline, given one token. */
const hmacSecretBytes: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 };

/** @returns what is weak about the shared secret, and what would mend it, or undefined where nothing is. */
export function secretWeakness(jwt: JwtSettings | undefined): string | undefined {
  if (jwt?.secret === undefined) return undefined;
  const needed = Math.max(0, ...(jwt.algorithms ?? []).map((algorithm) => hmacSecretBytes[algorithm] ?? 0));
  if (Buffer.byteLength(jwt.secret) >= needed) return undefined;
  return `auth.jwt.secret has fewer than ${needed} bytes: given one token it can be searched for offline. \`openssl rand -base64 ${needed}\` makes a good one`;
}
