import type { SubscriptionId } from "./protocol.js";
import type { Subscription } from "./subscription.js";

/** The subscriptions of one connection by their ids. Nearly every connection has one: for that no table is kept. */
export class Subscriptions implements Iterable<Subscription> {
  #only: Subscription | undefined;
  #more: Map<SubscriptionId, Subscription> | undefined;

  get size(): number {
    return this.#more?.size ?? (this.#only === undefined ? 0 : 1);
  }

  get(id: SubscriptionId): Subscription | undefined {
    if (this.#more !== undefined) return this.#more.get(id);
    return this.#only?.id === id ? this.#only : undefined;
  }

  /** Adds one whose id no other has. */
  add(subscription: Subscription): void {
    if (this.#more !== undefined) {
      this.#more.set(subscription.id, subscription);
    } else if (this.#only === undefined) {
      this.#only = subscription;
    } else {
      this.#more = new Map([this.#only, subscription].map((each) => [each.id, each]));
      this.#only = undefined;
    }
  }

  /** @returns whether it was there */
  delete(subscription: Subscription): boolean {
    if (this.get(subscription.id) !== subscription) return false;
    this.#only = undefined;
    this.#more?.delete(subscription.id);
    if (this.#more?.size === 0) this.#more = undefined;
    return true;
  }

  /** Those that are there now: they may be deleted and others added meanwhile. */
  [Symbol.iterator](): Iterator<Subscription> {
    const all = this.#more?.values() ?? (this.#only === undefined ? [] : [this.#only]);
    return [...all][Symbol.iterator]();
  }
}
