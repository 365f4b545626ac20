import type { ChangeStreamDocument } from "mongodb";

type Fragment = ChangeStreamDocument & { splitEvent?: { fragment: number; of: number } };

export interface Assembler {
  /** @returns the whole event when its last fragment was added, undefined before. */
  add(fragment: ChangeStreamDocument): ChangeStreamDocument | undefined;
  /** True between the first and the last fragment of an event: a place from which a stream must not be resumed. */
  readonly incomplete: boolean;
  /** Forgets a half of an event: the stream has been reopened before it. */
  reset(): void;
}

/**
 * Puts events together that `$changeStreamSplitLargeEvent` has split because they were over 16 MB. Each fragment carries
 * some of the top-level fields of the event; they add up.
 */
export function createAssembler(): Assembler {
  let parts: Fragment[] = [];
  return {
    add(event) {
      const fragment = event as Fragment;
      const of = fragment.splitEvent?.of ?? 1;
      if (of === 1) return event;
      parts.push(fragment);
      if (parts.length < of) return undefined;
      // The last fragment's `_id` is the token after the whole event.
      const whole = Object.assign({}, ...parts) as ChangeStreamDocument;
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
