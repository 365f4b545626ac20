import type { View } from "../dispatcher/view.js";

/** What follows a view on one connection. */
interface Followers {
  readonly subscriptions: number;
  /** Whether what one of them missed is being sent. */
  readonly isReplaying: boolean;
}

const none: Followers = { subscriptions: 0, isReplaying: false };
const one: Followers = { subscriptions: 1, isReplaying: false };

/**
 * The topics of one connection. A topic is on while subscriptions follow it and its view is not being replayed: two
 * subscriptions of one view share its messages, and those of a replay must not be mixed with newer ones.
 *
 * Nearly every connection has one subscription: for that no table is kept.
 */
export class Topics {
  #only: View | undefined;
  #others: Map<View, Followers> | undefined;

  /** @returns whether the view's topic has to be turned on or off, or stays as it is */
  change(view: View, to: (followers: Followers) => Partial<Followers>): "on" | "off" | "as it is" {
    const before = this.#of(view);
    const after = { ...before, ...to(before) };
    this.#set(view, after);
    if (isOn(before) === isOn(after)) return "as it is";
    return isOn(after) ? "on" : "off";
  }

  /** Whether a subscription follows the view's topic, or will again after the replay. */
  isWanted(view: View): boolean {
    return this.#of(view).subscriptions > 0;
  }

  /** Whether what was missed of any view is being sent. */
  get isReplaying(): boolean {
    for (const { isReplaying } of this.#others?.values() ?? []) if (isReplaying) return true;
    return false;
  }

  #of(view: View): Followers {
    return view === this.#only ? one : (this.#others?.get(view) ?? none);
  }

  #set(view: View, { subscriptions, isReplaying }: Followers): void {
    if (this.#only === view) this.#only = undefined;
    this.#others?.delete(view);
    if (subscriptions === 1 && !isReplaying && this.#only === undefined) {
      this.#only = view;
    } else if (subscriptions > 0 || isReplaying) {
      this.#others ??= new Map();
      this.#others.set(view, subscriptions === 1 && !isReplaying ? one : { subscriptions, isReplaying });
    }
    if (this.#others?.size === 0) this.#others = undefined;
  }
}

function isOn({ subscriptions, isReplaying }: Followers): boolean {
  return subscriptions > 0 && !isReplaying;
}
