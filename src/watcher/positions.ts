import type { Support } from "../database.js";
import { formatPosition, ordinals } from "../position.js";
import { timeOfToken } from "./change.js";
import type { RawEvent } from "./raw-event.js";
import type { RawBatch } from "./stream.js";

interface Time {
  readonly seconds: number;
  readonly increment: number;
}

export interface Place extends Time {
  readonly ordinal: number;
}

/** Gives events their positions: counts those that share a cluster time, and remembers how far the stream has come. */
export interface Positions {
  /** @returns the position of the next event of the stream, or undefined where it was dispatched already */
  of(event: RawEvent): string | undefined;
  /** @returns how far the stream has come after a batch, by its token where that says more than its last event */
  idle(batch: Pick<RawBatch, "token" | "isOpening">): string;
  /**
   * How far the stream has surely been read, whether or not a position there can be told: where it stood a batch ago. What
   * happened before that has come by now, also from a server whose tokens run a little ahead.
   */
  readonly read: string;
  /** The events so far have been dispatched: a stream that is reopened goes on after them. */
  settle(): void;
  /** The stream is reopened after the last event that was dispatched. */
  rewind(): void;
  /**
   * The stream is opened at a time, with all events of that time.
   *
   * @param dispatched - how many of them have been dispatched already
   * @param again - how many of those the stream brings again: all of them, unless it is opened at a place between them
   */
  begin(time: Time, dispatched: number, again?: number): void;
  /** The last event that was dispatched, or where the stream began. */
  readonly settled: Place;
}

/**
 * How far the place of an idle token is set back, in seconds, on servers that are not MongoDB: beside a writer, SecantusDB's
 * idle tokens were seen ahead of events that came after them. A client that held such a place would never be told of those.
 */
const idleSlackSeconds = 3;

/** @param database - its tag goes into every position */
export function createPositions(database: { readonly tag: string; readonly support: Support }): Positions {
  let settled: Place = { seconds: 0, increment: 0, ordinal: ordinals.before };
  let place = settled;
  let head: Place = settled;
  let known: Place | undefined;
  /** The places of the last two tokens, as they came. */
  let [token, tokenBefore] = [settled, settled];
  const format = ({ seconds, increment, ordinal }: Place): string =>
    formatPosition({ seconds, increment, ordinal, tag: database.tag });

  /** A position that was told is never followed by a lower one, whatever the server says. */
  function after(time: Time): Place {
    const floor = isBefore(place, head) ? head : place;
    // Written out, for this runs for every event, and a spread costs a microsecond.
    if (isLater(time, floor)) return { seconds: time.seconds, increment: time.increment, ordinal: 1 };
    return { seconds: floor.seconds, increment: floor.increment, ordinal: floor.ordinal + 1 };
  }

  return {
    of(event) {
      const { seconds, increment } = event;
      const time = seconds === undefined ? place : { seconds, increment };
      if (known !== undefined) {
        // One that is older counts as of that time, as it did when it got its place.
        if (!isLater(time, known) && known.ordinal > 0) {
          known = { ...known, ordinal: known.ordinal - 1 };
          return undefined;
        }
        known = undefined;
      }
      place = after(time);
      return format(place);
    },
    idle(batch) {
      // The time of an opening's token is true of MongoDB only: SecantusDB's is that of the opening, whatever it has yet to read.
      const isTrue = database.support.isMongodb || !batch.isOpening;
      const time = isTrue ? timeOfToken(batch.token) : undefined;
      if (isTrue) tokenBefore = token;
      if (time !== undefined) token = { ...time, ordinal: ordinals.before };
      const slack = database.support.isMongodb ? 0 : idleSlackSeconds;
      const idle: Place | undefined = time && {
        seconds: time.seconds - slack,
        increment: time.increment,
        ordinal: ordinals.before,
      };
      if (isBefore(head, place)) head = place;
      if (idle !== undefined && isBefore(head, idle)) head = idle;
      return format(head);
    },
    get read() {
      return format(isBefore(head, tokenBefore) ? tokenBefore : head);
    },
    settle() {
      settled = place;
    },
    rewind() {
      place = settled;
      known = undefined;
    },
    begin(time, dispatched, again = dispatched) {
      place = { ...time, ordinal: dispatched };
      settled = place;
      known = again > 0 ? { ...time, ordinal: again } : undefined;
    },
    get settled() {
      return settled;
    },
  };
}

function isLater(time: Time, than: Time): boolean {
  return time.seconds !== than.seconds ? time.seconds > than.seconds : time.increment > than.increment;
}

export function isBefore(a: Place, b: Place): boolean {
  if (a.seconds !== b.seconds) return a.seconds < b.seconds;
  if (a.increment !== b.increment) return a.increment < b.increment;
  return a.ordinal < b.ordinal;
}
