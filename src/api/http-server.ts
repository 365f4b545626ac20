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
