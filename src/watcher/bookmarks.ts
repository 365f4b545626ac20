import type { ResumeToken } from "mongodb";
import { isBefore, type Place } from "./positions.js";

/** How far apart the places are that are remembered, unless there are too many of them. */
const eventsApart = 1_000;
const millisecondsApart = 10_000;
const most = 2_000;

export interface Mark {
  /** All events beyond it come after the token, and no other. */
  readonly place: Place;
  readonly token: ResumeToken;
  /** Whether the stream ended there: one that begins before it does so again. */
  readonly isEnd?: boolean;
}

/**
 * Tokens of places that the stream has passed, for servers that find the place of a token at once and that of a time only by
 * reading all of their oplog. The older a place is, the thinner they get.
 */
export class Bookmarks {
  #marks: Mark[] = [];
  #eventsSince = Number.POSITIVE_INFINITY;
  #markedAt = 0;

  /**
   * Some events have been dispatched.
   *
   * @param events - how many
   * @returns whether a mark is due
   */
  passed(events: number): boolean {
    this.#eventsSince += events;
    return this.#eventsSince >= eventsApart || performance.now() - this.#markedAt >= millisecondsApart;
  }

  add(mark: Mark): void {
    this.#marks.push(mark);
    this.#eventsSince = 0;
    this.#markedAt = performance.now();
    if (this.#marks.length > most) this.#marks = this.#marks.filter(({ isEnd }, index) => isEnd || index % 2 === 0);
  }

  /** @returns the last mark that is not beyond a place, or undefined where none is known */
  before(place: Place): Mark | undefined {
    return this.#marks.findLast((mark) => !isBefore(place, mark.place));
  }

  /** The server does not go on from there any more, and so from no older place. */
  forget(mark: Mark): void {
    this.#marks = this.#marks.slice(this.#marks.indexOf(mark) + 1);
  }

  forgetAll(): void {
    this.#marks = [];
  }
}
