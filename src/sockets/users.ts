import type { User } from "../config/settings.js";

/** How many connections each user has. Anonymous connections are nobody's. */
export class UserConnections {
  readonly #counts = new Map<string, number>();

  /** @returns how many the user has with this one, 0 for an anonymous one. */
  enter(user: User | null): number {
    if (user === null) return 0;
    const count = (this.#counts.get(user.sub) ?? 0) + 1;
    this.#counts.set(user.sub, count);
    return count;
  }

  leave(user: User | null): void {
    if (user === null) return;
    const count = (this.#counts.get(user.sub) ?? 0) - 1;
    if (count > 0) this.#counts.set(user.sub, count);
    else this.#counts.delete(user.sub);
  }
}
