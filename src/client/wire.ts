import type { ResetReason } from "../message.js";
import type { ClientError } from "./error.js";
import type { Change, Doc } from "./types.js";

/** What the gateway sends about one subscription. */
export type About =
  | { readonly type: "snapshot"; readonly id: number; readonly data: readonly Doc[] }
  | {
      readonly type: "ready";
      readonly id: number;
      readonly view: string;
      readonly position: string;
      readonly recovered: boolean;
    }
  | { readonly type: "reset"; readonly id: number; readonly reason: ResetReason }
  | {
      readonly type: "error";
      readonly id: number;
      readonly status: number;
      readonly code: string;
      readonly title: string;
      readonly detail: string;
    };

export interface Limits {
  readonly payloadKilobytes: number;
  readonly messagesPerMinute: number;
}

export interface Welcome {
  readonly type: "welcome";
  readonly user: { sub: string } | null;
  readonly limits: Limits;
}

/** Members and types that this client does not know may come from a later gateway. */
export type Received =
  | About
  | Welcome
  | { readonly type: "progress" | "pong"; readonly position: string }
  | (Change<Doc> & { readonly type?: undefined });

/** What a connection tells those that are live on it. */
export interface Follower {
  /** There is a connection. */
  join(): void;
  /** It is lost. */
  disconnected(): void;
  /** It is going to be another user's. */
  discard(): void;
  receive(message: About): void;
  /** Of any view. */
  change(change: Change<Doc>): void;
  /** All views of the connection are complete up to this position. */
  progress(position: string): void;
  /** @param error - undefined where it was wished for */
  end(error: ClientError | undefined): void;
}

/** What a live copy needs of its connection. */
export interface Wire {
  /** Asks for the rows, or for what was missed; without effect while there is no connection. */
  join(question: Record<string, unknown>): void;
  /** Asks for no more. */
  leave(): void;
  /** From now on the copy is told of nothing. */
  forget(): void;
  /**
   * Has the gateway asked how far it is, again and again.
   *
   * @returns what ends that
   */
  awaitProgress(): () => void;
}
