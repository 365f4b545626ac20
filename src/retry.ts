import { setTimeout as delay } from "node:timers/promises";

/**
 * Waits, unless aborted.
 *
 * @param milliseconds - how long; measured on the monotonic clock, so that a step of the wall clock changes nothing
 * @param signal - ends the wait at once
 * @returns true when the time has passed, false when the signal ended the wait
 */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<boolean> {
  if (signal?.aborted) return false;
  try {
    await delay(milliseconds, undefined, signal === undefined ? {} : { signal });
    return true;
  } catch (error) {
    if (signal?.aborted) return false;
    throw error;
  }
}

/** Resolves when everything else that is due has had its turn. */
export function turnOfTheEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Waits for a promise no longer than a signal allows. What the promise was for goes on; nobody hears of its failure then.
 *
 * @throws the signal's reason, or what the promise rejects with
 */
export async function unlessAborted<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const ended = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true, signal: ended.signal });
  });
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    ended.abort();
  }
}

export interface Backoff {
  /** The next wait, in milliseconds. */
  next(): number;
  /** Starts again from the shortest wait: to be called when what was retried works. */
  reset(): void;
}

/**
 * Exponential backoff with full jitter: a wait is drawn evenly from zero to a ceiling that doubles, so that many clients
 * that failed together do not come back together. A floor keeps a loop from spinning when the draw is near zero.
 *
 * @param options.baseMilliseconds - the first ceiling
 * @param options.maxMilliseconds - the ceiling never grows past this
 * @param options.floorMilliseconds - no wait is shorter
 * @param options.random - a number in [0, 1); replaced in specs
 */
export function createBackoff(options: {
  baseMilliseconds: number;
  maxMilliseconds: number;
  floorMilliseconds?: number;
  random?: () => number;
}): Backoff {
  const random = options.random ?? Math.random;
  const floor = options.floorMilliseconds ?? 0;
  let ceiling = options.baseMilliseconds;
  return {
    next() {
      const wait = Math.max(floor, random() * ceiling);
      ceiling = Math.min(options.maxMilliseconds, ceiling * 2);
      return wait;
    },
    reset() {
      ceiling = options.baseMilliseconds;
    },
  };
}

/**
 * Tries again, ever more slowly, what may pass by itself.
 *
 * @param options.signal - ends the tries, also one that is under way
 * @param options.mayPass - whether a failure may
 * @param options.failed - told of each that is tried again
 * @throws the signal's reason, or a failure that does not pass
 */
export async function untilDone<Result>(
  work: () => Promise<Result>,
  options: { signal: AbortSignal; mayPass(error: unknown): boolean; failed(error: unknown): void },
): Promise<Result> {
  const backoff = createBackoff({ baseMilliseconds: 500, maxMilliseconds: 5_000, floorMilliseconds: 100 });
  for (;;) {
    try {
      return await unlessAborted(work(), options.signal);
    } catch (error) {
      if (options.signal.aborted || !options.mayPass(error)) throw error;
      options.failed(error);
      await sleep(backoff.next(), options.signal);
    }
  }
}
