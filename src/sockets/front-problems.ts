import { STATUS_CODES } from "node:http";
import type { FrontClient } from "./front-client.js";
import type { ResponseHeader } from "./front-headers.js";

/** An answer of the front itself, where the server behind it gave none. */
export interface Problem {
  status: number;
  code: string;
  title: string;
  retryAfterSeconds?: number;
}

export const problems = {
  malformed: { status: 400, code: "malformed-request", title: "The request's head is not valid HTTP" },
  tooLarge: { status: 413, code: "body-too-large", title: "The request's body is too large" },
  tooSlow: { status: 408, code: "body-timeout", title: "The request's body took too long" },
  unsupported: { status: 501, code: "unsupported-method", title: "The method is not supported" },
  unavailable: { status: 502, code: "upstream-unavailable", title: "The API could not be reached" },
  overloaded: { status: 503, code: "overloaded", title: "Too many requests at once", retryAfterSeconds: 1 },
  stopping: { status: 503, code: "stopping", title: "The gateway is stopping", retryAfterSeconds: 1 },
  timeout: { status: 504, code: "upstream-timeout", title: "The API did not answer in time" },
} satisfies Record<string, Problem>;

/**
 * @param how.linger - ask the client to close, and discard what it is still sending until it does
 * @param how.hangUp - close at once
 */
export function respondProblem(
  client: FrontClient,
  problem: Problem,
  how: { bodiless: boolean; linger?: boolean; hangUp?: boolean },
): void {
  const { status, code, title, retryAfterSeconds } = problem;
  const headers: ResponseHeader[] = [["Content-Type", "application/problem+json"]];
  if (retryAfterSeconds !== undefined) headers.push(["Retry-After", String(retryAfterSeconds)]);
  if (how.linger === true) headers.push(["Connection", "close"]);
  const body = Buffer.from(JSON.stringify({ type: "about:blank", title, status, code }));
  const head = { status, reason: STATUS_CODES[status] ?? "", headers, length: body.length, bodiless: how.bodiless };
  client.respond(head, body, how.hangUp === true);
}
