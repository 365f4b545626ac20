// Progress on its way out of a worker.
import { deserialize, serialize } from "node:v8";

/** Values that a call may hand over as fast as it likes. The usual call reports less often, and all of it arrives at once. */
export const progressBurst = 1000;
/** What it may hand over in the long run. */
export const progressPerSecond = 500;

export interface ProgressSender {
  /** @throws an Error where the value can't be sent */
  report(value: unknown): void;
  /** Sends what still waits. Later reports are ignored. */
  end(): void;
}

/**
 * Bounds what a call's progress costs its receiver, whose event loop handles every message: a function that reports from
 * a tight loop would fill it with millions of them. Beyond the bounds, the newest value waits for its turn and takes the
 * place of the one that waited.
 *
 * In a synchronous loop no timer fires, so the clock is looked at with every report; the timer is for the last value
 * before a function that waits for something else.
 */
export function createProgressSender(send: (value: unknown) => void): ProgressSender {
  let allowance = progressBurst;
  let countedAt = performance.now();
  // As bytes, for the function may go on filling the same object. And what can't be sent then throws where it is reported.
  let waiting: Buffer | undefined;
  let timer: NodeJS.Timeout | undefined;
  let hasEnded = false;

  function count(): void {
    const now = performance.now();
    allowance = Math.min(progressBurst, allowance + ((now - countedAt) / 1000) * progressPerSecond);
    countedAt = now;
  }

  function sendWaiting(): void {
    clearTimeout(timer);
    timer = undefined;
    if (waiting === undefined) return;
    const bytes = waiting;
    waiting = undefined;
    allowance--;
    send(deserialize(bytes));
  }

  return {
    report(value) {
      if (hasEnded) return;
      count();
      if (allowance >= 1) {
        send(value);
        // Not sooner: a value that can't be sent takes neither the allowance nor the place of one that can.
        allowance--;
        waiting = undefined;
        clearTimeout(timer);
        timer = undefined;
      } else {
        waiting = serialize(value);
        timer ??= setTimeout(sendWaiting, 1000 / progressPerSecond);
      }
    },
    end() {
      hasEnded = true;
      sendWaiting();
    },
  };
}
