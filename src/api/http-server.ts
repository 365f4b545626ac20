import { createServer, type RequestListener, type Server, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";

/** The longest head of a request, in bytes, as node:http counts it. */
export const maxHeadBytes = 16_384;

/** An HTTP server that answers with a problem, too, where a request does not get as far as Koa. */
export function createHttpServer(listener: RequestListener): Server {
  return createServer({ maxHeaderSize: maxHeadBytes }, listener).on("clientError", (error, socket) => {
    answer(error, socket as Socket);
  });
}

/**
 * For a port that clients reach without the front: does with addresses what the front does.
 *
 * @param peerHeader - the header, in lower case, that tells the application the client's address
 */
export function withoutFront(listener: RequestListener, peerHeader: string): RequestListener {
  return (request, response) => {
    const { headers } = request;
    for (const name of Object.keys(headers)) if (forwardingHeaders.test(name)) delete headers[name];
    // An IPv4 address on a listener of both families is mapped into IPv6.
    headers[peerHeader] = request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "";
    listener(request, response);
  };
}

const forwardingHeaders = /^(forwarded|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip)$/;

/** @throws what node:net says of a place that can't be listened on */
export function listen(server: Server, place: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(place, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Takes no more connections, and cuts those whose requests are not done in time. */
export function close(server: Server, graceMilliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMilliseconds);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function answer(error: NodeJS.ErrnoException, socket: Socket): void {
  // As node:http's own handler does it, whose answers are empty: what has begun to be answered can't be answered anew.
  const { _httpMessage: begun } = socket as { _httpMessage?: { readonly headersSent: boolean } | null };
  if (socket.writable && error.code !== "ECONNRESET" && !begun?.headersSent) socket.write(problemOf(error.code));
  socket.destroySoon();
}

function problemOf(errorCode: string | undefined): string {
  const [status, code, detail] = known.get(errorCode ?? "") ?? [400, "malformed-request", "this is not valid HTTP"];
  const title = STATUS_CODES[status] ?? "Error";
  const more = code === "head-too-large" ? { limitBytes: maxHeadBytes } : {};
  const body = JSON.stringify({ ...more, type: "about:blank", title, status, code, detail });
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    "Content-Type: application/problem+json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

const known: ReadonlyMap<string, readonly [status: number, code: string, detail: string]> = new Map([
  [
    "HPE_HEADER_OVERFLOW",
    [
      431,
      "head-too-large",
      `the request's head, with its URL, is over ${maxHeadBytes} bytes: a long filter goes into the body of POST /api/{interface}/query`,
    ],
  ],
  ["ERR_HTTP_REQUEST_TIMEOUT", [408, "request-timeout", "the request took too long to come"]],
]);
