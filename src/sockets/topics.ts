import type { View } from "../dispatcher/view.js";

interface Topic {
  subscriptions: number;
  replays: number;
  isOn: boolean;
}

/**
 * The topics of one connection. A topic is on while subscriptions follow it and none is replaying its view: two
 * subscriptions of one view share its messages, and those of a replay must not be mixed with newer ones.
 */
export class Topics {
  readonly #topics = new Map<View, Topic>();
  readonly #turn: (view: View, isOn: boolean) => void;

  /** @param turn - called when a topic goes on or off */
  constructor(turn: (view: View, isOn: boolean) => void) {
    this.#turn = turn;
  }

  change(view: View, by: { subscriptions?: number; replays?: number }): void {
    const topic = this.#topics.get(view) ?? { subscriptions: 0, replays: 0, isOn: false };
    topic.subscriptions += by.subscriptions ?? 0;
    topic.replays += by.replays ?? 0;
    const isOn = topic.subscriptions > 0 && topic.replays === 0;
    if (isOn !== topic.isOn) {
      topic.isOn = isOn;
      this.#turn(view, isOn);
    }
    if (topic.subscriptions === 0 && topic.replays === 0) this.#topics.delete(view);
    else this.#topics.set(view, topic);
  }

  /** Whether a subscription follows the view's topic. */
  isWanted(view: View): boolean {
    return (this.#topics.get(view)?.subscriptions ?? 0) > 0;
  }
}
