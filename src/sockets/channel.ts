import type { View } from "../dispatcher/view.js";

/** The connection, as far as a subscription needs it. */
export interface Channel {
  send(text: string): void;
  /** What is sent meanwhile leaves in one write. */
  together(work: () => void): void;
  /** Whether so much is waiting for the client that more should wait here. */
  isFull(): boolean;
  /** Resolves when something has left, or the connection has closed. */
  drained(): Promise<void>;
  /**
   * A replay of the view begins on this connection. Its topic waits meanwhile, for newer messages between those of the
   * replay would look like a gap; other subscriptions of the view follow the replay. There is one at a time.
   */
  beginReplay(view: View): void;
  /**
   * The replay has ended, for good or early, and the topic goes on.
   *
   * @param hasAll - whether it had all that the topic carried meanwhile; else those who followed it begin anew
   */
  endReplay(view: View, hasAll: boolean): void;
  /** Whether a replay of any view is on its way. */
  readonly isReplaying: boolean;
  /** Whether a subscription follows the view's topic, or the replay in its place. */
  isFollowed(view: View): boolean;
  /** Joins the topic of a view, or one more time; `detach` undoes one. */
  attach(view: View): void;
  detach(view: View): void;
}
