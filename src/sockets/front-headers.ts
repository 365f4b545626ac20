import { METHODS } from "node:http";
import { SocketAddress } from "node:net";
import type { HttpRequest } from "./uws.js";

/** The head of a client's request as it is passed on. */
export interface RequestHead {
  method: string;
  /** Path and query. */
  path: string;
  /** Name, value, name, value, one character per byte, as node:http takes them. */
  headers: string[];
  hasBody: boolean;
}

export interface ResponseHead {
  status: number;
  reason: string;
  headers: readonly ResponseHeader[];
  /** The length of the body in bytes; undefined sends it chunked. */
  length: number | undefined;
  /** Responses to HEAD, 204 and 304: `length` is told, no body follows. */
  bodiless: boolean;
}

/** `unanswerable`: the binary itself answers 400 as soon as the handler returns. */
export type HeadProblem = "unanswerable" | "malformed" | "unsupported" | "tooLarge";

// RFC 9110, 7.6.1: these belong to one connection, not to the message. `expect` is here because the binary has
// answered it with 100 already; a body's framing is decided again below.
const connectionHeaders = new Set([
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const forwardingHeaders = new Set(["forwarded", "x-real-ip", "x-client-ip", "true-client-ip"]);
// A server of node:http takes CONNECT for a tunnel, and others than these for garbage.
const methods = new Set(METHODS.filter((method) => method !== "CONNECT"));
const notPlain = /[^\t\x20-\x7e]/;
// The largest length that the binary accepts has 18 digits; it would wait for such a body, for which nobody has a use.
const bodyLength = /^\d{1,18}$/;
const mostDigits = 9;

/**
 * Reads what has to be passed on of a request. Only valid inside the route handler, like the request itself.
 *
 * @param peer - the internal header that tells the address of the client; a client's own header of that name is dropped
 */
export function readRequestHead(req: HttpRequest, peer: { name: string; address: string }): RequestHead | HeadProblem {
  const coding = req.getHeader("transfer-encoding").toLowerCase();
  const chunked = coding === "chunked";
  const length = req.getHeader("content-length");
  if (length !== "" && !bodyLength.test(length)) return "unanswerable";
  if (length.length > mostDigits) return "tooLarge";
  const method = req.getCaseSensitiveMethod();
  // The binary takes any other coding for chunked.
  if (!methods.has(method) || (coding !== "" && !chunked)) return "unsupported";

  const listed = listedInConnection(req.getHeader("connection"));
  const peerName = peer.name.toLowerCase();
  const headers: string[] = [];
  const once = { host: 0, "content-length": 0 };
  req.forEach((name, value) => {
    if (name === "host" || name === "content-length") once[name] += 1;
    if (connectionHeaders.has(name) || name.startsWith("proxy-")) return;
    if (forwardingHeaders.has(name) || name.startsWith("x-forwarded-") || name === peerName) return;
    if (listed?.has(name)) return;
    headers.push(name, notPlain.test(value) ? bytesOf(req, name, value, headers) : value);
  });
  // RFC 9112, 3.2 and 6.3: to be refused, for the next reader may choose the other one.
  if (once.host > 1 || once["content-length"] > 1) return "malformed";
  // Undefined without a question mark, which the types leave out.
  const query = req.getQuery() as string | undefined;
  const path = query === undefined ? req.getUrl() : `${req.getUrl()}?${query}`;
  if (notPlain.test(path)) return "malformed";

  if (chunked) headers.push("transfer-encoding", "chunked");
  // Without either, node:http would frame an absent body as chunked.
  else if (length !== "" || method === "POST" || method === "PUT" || method === "PATCH") {
    headers.push("content-length", length === "" ? "0" : length);
  }
  headers.push(peer.name, peer.address);
  return { method, path, headers, hasBody: chunked || Number(length) > 0 };
}

// `date` is written by the binary on every response; a length goes through tryEnd or is written by the caller.
const droppedFromResponse = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** A header as the binary takes it: strings become UTF-8, so that anything but ASCII has to be given as bytes. */
export type ResponseHeader = readonly [name: string, value: string | Buffer];

/**
 * @param rawHeaders - of a response that node:http has read: name, value, name, value
 * @param connection - the response's Connection header
 * @returns the headers to be passed on, repeated ones kept
 */
export function responseHeaders(rawHeaders: readonly string[], connection: string | undefined): ResponseHeader[] {
  const listed = listedInConnection(connection ?? "");
  const headers: ResponseHeader[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    const lower = name.toLowerCase();
    if (droppedFromResponse.has(lower) || listed?.has(lower)) continue;
    const value = responseText(rawHeaders[i + 1] ?? "");
    if (value !== undefined) headers.push([name, value]);
  }
  return headers;
}

/**
 * @returns text for a status line or a header in the form that keeps its bytes; undefined where it would break the head
 *   in two, which the binary would not notice: it writes whatever it is given
 */
export function responseText(text: string): string | Buffer | undefined {
  if (!notPlain.test(text)) return text;
  if (/[\r\n\0]/.test(text)) return undefined;
  return Buffer.from(text, "latin1");
}

/**
 * @param binary - 4 bytes of IPv4, 16 of IPv6, or none where the listener is no network socket
 * @returns the address in its usual text form; IPv4 mapped into IPv6 as IPv4
 */
export function addressText(binary: ArrayBuffer): string {
  const bytes = new Uint8Array(binary);
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return "";
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (mapped) return bytes.subarray(12).join(".");
  const address = (Buffer.from(bytes).toString("hex").match(/.{4}/g) ?? []).join(":");
  return new SocketAddress({ family: "ipv6", address }).address;
}

/** The headers that a Connection header declares to be for this connection only; never the one that names the host. */
function listedInConnection(connection: string): Set<string> | undefined {
  const tokens = connection.toLowerCase();
  if (tokens === "" || tokens === "keep-alive" || tokens === "close") return undefined;
  const names = new Set(tokens.split(",").map((token) => token.trim()));
  names.delete("host");
  return names;
}

/**
 * A header's bytes as characters. `forEach` decodes UTF-8, which loses other bytes; `getHeader` does not, but only gives
 * the first of several.
 */
function bytesOf(req: HttpRequest, name: string, decoded: string, seen: readonly string[]): string {
  const repeated = seen.some((text, index) => index % 2 === 0 && text === name);
  return repeated ? Buffer.from(decoded, "utf8").toString("latin1") : req.getHeader(name);
}
