/** A host as browsers write it into a request: a name or an address, and a port. */
const hostPattern = /^(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;

/**
 * A page of another site sends its own origin; a program sends none.
 *
 * @param origin - the `Origin` header (RFC 6454), undefined where there is none
 * @param host - the `Host` header
 * @param allowed - exact origins; empty for those of the host itself, whatever the scheme: TLS may end in front of the gateway
 */
export function originAllowed(origin: string | undefined, host: string, allowed: readonly string[]): boolean {
  if (origin === undefined) return true;
  if (allowed.length > 0) return allowed.includes(origin);
  // "null" and whatever else is no URL is the origin of nobody.
  if (!/^https?:\/\//i.test(origin) || !URL.canParse(origin) || !hostPattern.test(host)) return false;
  const { protocol, host: originHost } = new URL(origin);
  // Read with the same scheme, both lose its default port, and take the same spelling.
  const own = `${protocol}//${host}`;
  return URL.canParse(own) && new URL(own).host === originHost;
}
