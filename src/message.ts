/**
 * What travels between the gateway and its clients, in one place: server and client library both import it, and it
 * imports nothing.
 */

/** What happened to a document, as its audience sees it. */
export const operations = ["insert", "update", "delete"] as const;
export type Operation = (typeof operations)[number];

/** How the values of documents are written: by the mapping of docs/messages.md, or losslessly as canonical Extended JSON. */
export const formats = ["json", "ejson"] as const;
export type Format = (typeof formats)[number];

/** The part of a document that clients see; `_id` is shown as `id`. */
export type Representation = { id: unknown } & Record<string, unknown>;

/** A change as a plain connection receives it: exactly these three members. */
export type ChangeMessage =
  | { interface: string; operation: "insert" | "update"; data: Representation }
  | { interface: string; operation: "delete"; data: unknown[] };

/** The subprotocol of connections that subscribe. */
export const subprotocol = "tailgate.v1";

/** The path of the websocket endpoint. */
export const websocketPath = "/ws";

/** Close codes of the websocket, with what a client should do about each. */
export const closeCodes = {
  /** The gateway is stopping: reconnect at once, with jitter. */
  goingAway: 1001,
  /** Malformed request or message: do not reconnect. */
  malformed: 4400,
  /** No token, or one that is expired or not valid: reconnect with a new one. */
  unauthorized: 4401,
  /** Origin or user refused: do not reconnect. */
  forbidden: 4403,
  /** Unknown subprotocol: do not reconnect. */
  unknownSubprotocol: 4406,
  /** Did not authenticate in time: reconnect after a pause. */
  authenticationTimeout: 4408,
  /** A message over the limit: do not reconnect. */
  tooBig: 4413,
  /** Too fast or too many: reconnect after a pause. */
  tooMany: 4429,
  /** The gateway failed: reconnect with backoff. */
  internal: 4500,
  /** More was waiting for this connection than its buffer may hold: reconnect with backoff. */
  tooSlow: 4508,
  /** Plain mode only: the stream was reset; reconnect at once and fetch again. */
  reset: 4510,
} as const;

/** Why everything that a client holds of a view is void. */
export type ResetReason =
  | "history-lost"
  | "dropped"
  | "renamed"
  | "rule-changed"
  | "too-far-behind"
  | "membership-unknown"
  | "unknown-position";
