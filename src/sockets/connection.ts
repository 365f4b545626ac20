import type { WebSocket } from "uWebSockets.js";
import type { User } from "../config/settings.js";
import type { View } from "../dispatcher/view.js";

/** Admitted with the views to follow, or refused with a close code. */
export type Admission = Admitted | { readonly refusal: Refusal };

interface Admitted {
  readonly mode: "plain" | "live";
  /** Undefined where a client that subscribes will say in its first message who it is. */
  readonly user: User | null | undefined;
  /** When its token expires, on the monotonic clock in milliseconds; undefined where it does not. */
  readonly endsAt: number | undefined;
  readonly views: readonly View[];
}

/** What is known of a connection from its upgrade request until it closes. */
export interface Connection extends Admitted {
  user: User | null | undefined;
  /** Why the connection is closed as soon as it is open: only so can a browser learn the code. */
  readonly refusal: Refusal | undefined;
  /** Messages that it may still send in the minute that ends at `minuteEnds`, on the monotonic clock in milliseconds. */
  messagesLeft: number;
  minuteEnds: number;
  /** What may wait for it beyond the limit, in bytes: one message that is larger than that is no fault of its reader. */
  allowedBytes: number;
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

/** Of connections that are refused, and of those that subscribe. */
export const noViews: readonly View[] = [];

/**
 * @param messagesLeft - of the minute that ends at `minuteEnds`
 * @returns the connection as it opens; one that is refused closes at once
 */
export function createConnection(admission: Admission, messagesLeft: number, minuteEnds: number): Connection {
  const isRefused = "refusal" in admission;
  const { mode, user, endsAt, views } = isRefused ? nobody : admission;
  // In full: V8 gives an object that is spread and then added to a hidden class of its own, which is larger than the object.
  const refusal = isRefused ? admission.refusal : undefined;
  return { mode, user, endsAt, views, refusal, messagesLeft, minuteEnds, allowedBytes: 0 };
}

const nobody: Admitted = { mode: "plain", user: null, endsAt: undefined, views: noViews };

/** RFC 6455 allows 123 bytes of reason in a close frame. */
const reasonBytes = 123;

/** @returns the reason, cut to what a close frame can carry. */
export function closeReason(reason: string): string {
  if (Buffer.byteLength(reason) <= reasonBytes) return reason;
  return Buffer.from(reason).subarray(0, reasonBytes).toString("utf8").replace(/�+$/, "");
}
