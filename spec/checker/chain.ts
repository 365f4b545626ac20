import type { Message } from "./replica.js";

interface Link {
  last: string | undefined;
  /** Once after each `ready`: what the replay told may not have been on the topic, which then follows an earlier message. */
  mayStepBack: boolean;
}

/**
 * Whether each message of a view says rightly which one came before it (S18), on one connection. A view that two
 * subscriptions of the connection share is left alone: a replay for one of them repeats what the other had.
 */
export class Chains {
  readonly #links = new Map<string, Link>();

  /** A subscription of the view is ready. */
  begin(view: string): void {
    this.#links.set(view, { last: undefined, mayStepBack: true });
  }

  /** @returns what is wrong, if something is */
  follow({ view, position, previous }: Message): string | undefined {
    const link = this.#links.get(view as string);
    if (link === undefined) return undefined;
    const { last } = link;
    link.last = position as string;
    if (last === undefined || previous === last) return undefined;
    if ((previous as string) < last && link.mayStepBack) {
      link.mayStepBack = false;
      return undefined;
    }
    return `${position} says that ${previous} was before it, but ${last} was`;
  }
}
