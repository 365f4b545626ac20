/** Under the time limit for a socket that the driver would otherwise apply first. */
const leastLongestSilence = 50_000;
const socketMargin = 10_000;
/**
 * To open a stream after a long outage the server reads through all that was written meanwhile, of any collection. A longer
 * wait only means that a connection that dies at that moment is noticed later.
 */
const leastLongestOpening = 10 * 60_000;

/** How long the server may be silent before its connection is taken for dead, in milliseconds. */
export interface Patience {
  /** Between two batches of a stream that is open. */
  readonly silenceMilliseconds: number;
  /** Before a stream is open; without what finding a server may take. */
  readonly openingMilliseconds: number;
  /**
   * The server was silent for too long: it gets twice the time.
   *
   * @returns false where it had the longest already
   */
  lengthen(): boolean;
  /** A batch has come in time. */
  reset(): void;
}

/**
 * @param normalMilliseconds - what is enough as a rule
 * @param socketTimeoutMilliseconds - the driver's limit; a larger one lengthens the longest patience
 */
export function createPatience(normalMilliseconds: number, socketTimeoutMilliseconds = 0): Patience {
  const longestSilence = Math.max(leastLongestSilence, socketTimeoutMilliseconds - socketMargin);
  const longestOpening = Math.max(leastLongestOpening, socketTimeoutMilliseconds);
  let milliseconds = normalMilliseconds;
  return {
    get silenceMilliseconds() {
      return Math.min(longestSilence, milliseconds);
    },
    get openingMilliseconds() {
      return milliseconds;
    },
    lengthen() {
      const isLongest = milliseconds === longestOpening;
      milliseconds = Math.min(longestOpening, milliseconds * 2);
      return !isLongest;
    },
    reset() {
      milliseconds = normalMilliseconds;
    },
  };
}
