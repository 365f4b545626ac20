/*
 * What names, paths and addresses in the configuration may be. Each check returns a sentence that says what is wrong
 * and what would be right, or undefined.
 */

const pollutingKeys = new Set(["__proto__", "constructor", "prototype"]);

export const tasksName = "tasks";

export function interfaceNameProblem(name: string): string | undefined {
  if (name === tasksName) {
    return `the name "${tasksName}" is taken: the gateway itself serves its tasks under it, each to its creator; choose another name`;
  }
  if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(name)) {
    return "a name begins with a letter and holds only letters, digits, _ and -, for it is part of URLs; choose such a name and say which collection it is with `collection`";
  }
  return undefined;
}

/** Source: MongoDB's naming restrictions; `system.*` is the server's own. */
export function collectionNameProblem(name: string): string | undefined {
  if (name === "") return "a collection's name can't be empty; leave the key out to use the interface's name";
  if (name.includes("$") || name.includes("\0")) return "a collection's name can't contain $ or a NUL character";
  if (name.startsWith("system.")) return "collections that begin with `system.` are the server's own and not served";
  if (name.startsWith(".") || name.endsWith(".")) return "a collection's name can't begin or end with a dot";
  return undefined;
}

export function fieldPathProblem(path: string): string | undefined {
  if (path.includes("\0")) return "a path can't contain a NUL character";
  for (const segment of path.split(".")) {
    if (segment === "") return 'a path is names with single dots between them, such as "user.name"';
    if (segment.startsWith("$")) return "a path can't hold an operator: no part of it begins with $";
    if (pollutingKeys.has(segment)) return `a path can't go through "${segment}"`;
  }
  return undefined;
}

/**
 * Makes a list of paths one that says everything once: a path beside its own prefix is already covered by it, and
 * `_id`, shown as `id`, is in every representation.
 *
 * @param paths - checked field paths
 * @returns them without what is implied, in their order
 */
export function normalizePaths(paths: readonly string[]): string[] {
  const kept = new Set(paths.filter((path) => !/^_?id(\.|$)/.test(path)));
  return [...kept].filter((path) => {
    for (let dot = path.indexOf("."); dot !== -1; dot = path.indexOf(".", dot + 1)) {
      if (kept.has(path.slice(0, dot))) return false;
    }
    return true;
  });
}

export function hostProblem(host: string): string | undefined {
  // An address to listen on is a name or an IP address. IPv6 has colons of its own, at least two of them.
  const isAddress =
    /^[A-Za-z0-9._-]+$/.test(host) || /^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?$/.test(host);
  return isAddress
    ? undefined
    : "must be a host name or an IP address alone, such as 127.0.0.1, with the port in `port`";
}

/** An origin as browsers send it (RFC 6454): scheme, host, and port unless it is the scheme's default. */
export function originProblem(origin: string): string | undefined {
  if (origin.includes("*")) {
    return "a wildcard would let any page in the world open a socket with its visitor's cookie; list each origin, such as https://app.example.com";
  }
  if (origin === "null") {
    return '"null" is what sandboxed pages and local files send, whoever wrote them; serve the page from an origin of its own and list that';
  }
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\]+$/.test(origin)) {
    return `must be an exact origin, scheme://host or scheme://host:port in lower case, without path or final slash${suggestedOrigin(origin)}`;
  }
  if (!/^https?:/.test(origin)) return undefined;
  return URL.canParse(origin) && new URL(origin).origin === origin
    ? undefined
    : `must be written as browsers send it${suggestedOrigin(origin)}`;
}

function suggestedOrigin(written: string): string {
  const origin = URL.canParse(written) ? new URL(written).origin : "null";
  return origin === "null" ? ", such as https://app.example.com" : `: ${origin}`;
}

/** Keys that are fetched over plain HTTP could be anyone's: only this machine may serve them so. */
export function jwksUrlProblem(text: string): string | undefined {
  const right = "must be an https:// URL; http:// only from this machine";
  if (!URL.canParse(text)) return right;
  const { protocol, hostname } = new URL(text);
  if (protocol === "https:") return undefined;
  const isLocal = hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return protocol === "http:" && isLocal ? undefined : right;
}

/** @returns true where a key could reach a prototype through careless assignment */
export function isPollutingKey(key: string): boolean {
  return pollutingKeys.has(key);
}
