import { inspect } from "node:util";
import { ObjectId } from "mongodb";
import type { Logger } from "../log.js";

/** A lease is renewed when a third of it has passed, so that one renewal may fail without harm. */
const renewalsPerLease = 3;

/**
 * Keeps the lease of a task that this gateway runs, until `end` is called or it can't be kept any more.
 *
 * @param options.since - when the lease began at the earliest, on the monotonic clock
 * @param options.renew - resolves with false where the task is another's by now
 * @param options.lost - called once: the task must not be run any further
 */
export function keepLease(options: {
  leaseMilliseconds: number;
  since: number;
  renew(): Promise<boolean>;
  lost(): void;
  log: Logger;
}): { end(): void } {
  const interval = options.leaseMilliseconds / renewalsPerLease;
  let validUntil = options.since + options.leaseMilliseconds;
  let lastTryAt = options.since;
  /** The renewal that follows a stall is waited for until then, although the lease is over. */
  let graceUntil = Number.NEGATIVE_INFINITY;
  let hasEnded = false;
  let deadline: NodeJS.Timeout | undefined;

  function end(): void {
    hasEnded = true;
    clearInterval(renewals);
    clearTimeout(deadline);
  }

  function lose(): void {
    if (hasEnded) return;
    end();
    options.lost();
  }

  function isStalled(now: number): boolean {
    return now - lastTryAt > 2 * interval;
  }

  function renew(): void {
    const askedAt = performance.now();
    // This process slept. Whether another gateway has taken the task meanwhile, this renewal finds out.
    if (isStalled(askedAt)) graceUntil = askedAt + interval;
    lastTryAt = askedAt;
    options.renew().then(
      (isOurs) => {
        if (!isOurs) return lose();
        validUntil = Math.max(validUntil, askedAt + options.leaseMilliseconds);
        watchDeadline(validUntil);
      },
      (error) => options.log.warn({ err: error }, "lease not renewed"),
    );
  }

  function watchDeadline(at: number): void {
    if (hasEnded) return;
    clearTimeout(deadline);
    deadline = setTimeout(
      () => {
        // After a stall this timer and that of the renewals are both due, and either may be first.
        if (isStalled(performance.now())) renew();
        if (performance.now() < graceUntil) watchDeadline(graceUntil);
        else lose();
      },
      Math.max(0, at - performance.now()),
    );
  }

  const renewals = setInterval(renew, interval);
  watchDeadline(validUntil);
  return { end };
}

/** The tasks that other gateways run, each with a timer for the end of its lease. */
export interface LeaseWatch {
  /** Waits for the end of a task's lease, from now if it is not known. A later call replaces an earlier one. */
  watch(id: unknown, expiresAt: Date | null | undefined, atLeastMilliseconds?: number): void;
  forget(id: unknown): void;
  clear(): void;
}

/**
 * Timers stand in for looking through the collection again and again: every renewal is a change, and moves its timer.
 *
 * @param options.expired - called when a lease should be over; whether it is, only the database knows
 */
export function createLeaseWatch(options: { leaseMilliseconds: number; expired(id: unknown): void }): LeaseWatch {
  const timers = new Map<string, NodeJS.Timeout>();
  const { leaseMilliseconds } = options;
  function forget(id: unknown): void {
    const key = keyOf(id);
    clearTimeout(timers.get(key));
    timers.delete(key);
  }
  return {
    forget,
    watch(id, expiresAt, atLeastMilliseconds = 0) {
      forget(id);
      // The clocks may differ: the wait is kept within what a lease can be.
      const left = expiresAt instanceof Date ? expiresAt.getTime() - Date.now() : leaseMilliseconds;
      const wait = Math.max(atLeastMilliseconds, Math.min(left, leaseMilliseconds)) + 20;
      const timer = setTimeout(() => {
        timers.delete(keyOf(id));
        options.expired(id);
      }, wait);
      timers.set(keyOf(id), timer);
    },
    clear() {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    },
  };
}

const everything = { depth: null, maxArrayLength: null, maxStringLength: null, breakLength: Number.POSITIVE_INFINITY };

/**
 * A text for an id, whatever its type, to be used as the key of a map and in the log. Other programs insert tasks too, and an
 * id such as `{ toString: 1 }` has no text of its own.
 */
export function keyOf(id: unknown): string {
  return id instanceof ObjectId ? id.toHexString() : inspect(id, everything);
}
