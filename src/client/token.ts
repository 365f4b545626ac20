/**
 * @param token - a JWT, or whatever the application signs its users in with
 * @returns how long it is good by this machine's clock, in milliseconds, or undefined where it does not say
 */
export function expiresInMilliseconds(token: string): number | undefined {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { exp } = JSON.parse(atob(payload)) as { exp?: unknown };
    return typeof exp === "number" ? Math.max(0, exp * 1_000 - Date.now()) : undefined;
  } catch {
    // No JWT. The gateway knows when it expires.
    return undefined;
  }
}
