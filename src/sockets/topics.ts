import type { View } from "../dispatcher/view.js";

/** What follows a view on one connection. */
interface Followers {
  subscriptions: number;
  replays: number;
}

/**
 * The topics of one connection. A topic is on while subscriptions follow it and none is replaying its view: two
 * subscriptions of one view share its messages, and those of a replay must not be mixed with newer ones.
 *
 * Nearly always a view has one subscription and no replay, and then whether its topic is on says all: for such views nothing
 * is kept here.
 */
export class Topics {
  #others: Map<View, Followers> | undefined;

  /**
   * @param isOn - whether the view's topic is on now
   * @returns whether it has to be from now on
   */
  change(view: View, by: { subscriptions?: number; replays?: number }, isOn: boolean): boolean {
    const followers = this.#others?.get(view) ?? { subscriptions: isOn ? 1 : 0, replays: 0 };
    followers.subscriptions += by.subscriptions ?? 0;
    followers.replays += by.replays ?? 0;
    if (followers.subscriptions > 1 || followers.replays > 0) {
      this.#others ??= new Map();
      this.#others.set(view, followers);
    } else if (this.#others?.delete(view) && this.#others.size === 0) {
      this.#others = undefined;
    }
    return followers.subscriptions > 0 && followers.replays === 0;
  }

  /** Whether a subscription follows the view's topic, which is on now or is not. */
  isWanted(view: View, isOn: boolean): boolean {
    return isOn || (this.#others?.get(view)?.subscriptions ?? 0) > 0;
  }
}
