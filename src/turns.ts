/** Lets a number of callers work at the same time, and some wait. */
export interface Turns {
  /**
   * @param signal - gives the waiting up
   * @returns a function that ends the turn, or why there is none
   */
  take(signal: AbortSignal): Promise<(() => void) | "full" | "aborted">;
  /** Does the work in a turn of its own, however long it has to wait for it. */
  during<Result>(work: () => Promise<Result>): Promise<Result>;
}

/**
 * @param atOnce - callers that work at the same time
 * @param waiting - callers that may wait; the next is turned away
 */
export function createTurns(atOnce: number, waiting: number): Turns {
  let working = 0;
  const queue = new Set<() => void>();

  function end(): void {
    const [next] = queue;
    if (next === undefined) working -= 1;
    else {
      queue.delete(next);
      next();
    }
  }

  return {
    async during(work) {
      if (working < atOnce) working += 1;
      else await new Promise<void>((resolve) => queue.add(resolve));
      try {
        return await work();
      } finally {
        end();
      }
    },
    async take(signal) {
      if (signal.aborted) return "aborted";
      if (working < atOnce) {
        working += 1;
        return end;
      }
      if (queue.size >= waiting) return "full";
      return new Promise((resolve) => {
        const begin = (): void => {
          signal.removeEventListener("abort", giveUp);
          resolve(end);
        };
        const giveUp = (): void => {
          queue.delete(begin);
          resolve("aborted");
        };
        queue.add(begin);
        signal.addEventListener("abort", giveUp, { once: true });
      });
    },
  };
}
