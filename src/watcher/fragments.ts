import { joinFragments, type RawEvent } from "./raw-event.js";

export interface Assembler {
  /** @returns the whole event when its last fragment was added, undefined before. */
  add(fragment: RawEvent): RawEvent | undefined;
  /** True between the first and the last fragment of an event: a place from which a stream must not be resumed. */
  readonly incomplete: boolean;
  /** Forgets a half of an event: the stream has been reopened before it. */
  reset(): void;
}

/** Puts events together that `$changeStreamSplitLargeEvent` has split because they were over 16 MB. */
export function createAssembler(): Assembler {
  let parts: RawEvent[] = [];
  return {
    add(event) {
      if (event.fragments === 1) return event;
      parts.push(event);
      if (parts.length < event.fragments) return undefined;
      const whole = joinFragments(parts);
      parts = [];
      return whole;
    },
    get incomplete() {
      return parts.length > 0;
    },
    reset() {
      parts = [];
    },
  };
}
