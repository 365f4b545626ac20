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

/** What it sends about the connection. */
export type General =
  | { readonly type: "welcome"; readonly user: { sub: string } | null }
  | { readonly type: "progress" | "pong"; readonly position: string };

/** A later gateway may send types that this client does not know. */
export type Received = About | General | (Change<Doc> & { readonly type?: undefined });

/** What a connection tells those that are live on it. */
export interface Follower {
  /** There is a connection. */
  join(): void;
  /** It is lost. */
  left(): void;
  receive(message: About): void;
  /** Of any view. */
  change(change: Change<Doc>): void;
  /** All views of the connection are complete up to this position. */
  progress(position: string): void;
  /** @param error - undefined where it was wished for */
  end(error: ClientError | undefined): void;
}

/** What a live query needs of its connection. */
export interface Wire {
  /** Asks for the rows, or for what was missed, under an id that was not used before; without effect while there is no connection. */
  join(question: Record<string, unknown>): void;
  /** Asks for no more. */
  leave(): void;
  /** Asks how far the gateway is: the answer is told to all that is live. */
  ping(): void;
  /** The connection forgets it. */
  ended(): void;
}
