import type { WebSocket } from "uWebSockets.js";
import type { User } from "../config/settings.js";
import type { View } from "../dispatcher/view.js";

/** What is known of a connection from its upgrade request until it closes. */
export interface Connection {
  /** Undefined where a live connection is yet to say who it is. */
  user: User | null | undefined;
  readonly mode: "plain" | "live";
  readonly views: readonly View[];
  /** When its token expires, on the monotonic clock in milliseconds; undefined where it does not. */
  readonly endsAt: number | undefined;
  /** Why the connection is closed as soon as it is open: only so can a browser learn the code. */
  readonly refusal: Refusal | undefined;
  /** Messages that it may still send in the minute that ends at `minuteEnds`, on the monotonic clock in milliseconds. */
  messagesLeft: number;
  minuteEnds: number;
}

export interface Refusal {
  readonly code: number;
  readonly reason: string;
}

/**
 * uWebSockets copies the members of what an upgrade hands over onto the socket; behind one member the connection stays one
 * object. A socket may be used from its open to its close event only, and `end` raises the close event before it returns.
 */
export type Socket = WebSocket<{ readonly connection: Connection }>;

/** RFC 6455 allows 123 bytes of reason in a close frame. */
const reasonBytes = 123;

/** @returns the reason, cut to what a close frame can carry. */
export function closeReason(reason: string): string {
  if (Buffer.byteLength(reason) <= reasonBytes) return reason;
  return Buffer.from(reason).subarray(0, reasonBytes).toString("utf8").replace(/�+$/, "");
}
