/** Connections that are let in at once, and then again after each slice of time. */
const perSlice = 50;
const sliceMilliseconds = 20;

/**
 * Lets connections in one after another, however many come at once: after a restart all clients return together, and each
 * handshake, token and subscription costs time that those who are connected already wait.
 */
export interface Gate {
  /** @returns undefined where the connection may come in now, or a promise of its turn */
  enter(): Promise<void> | undefined;
  /** Connections that wait for their turn. */
  readonly waiting: number;
  /** Lets all in that still wait, to be told that the gateway is stopping. */
  stop(): void;
}

export function createGate(): Gate {
  const waiting: (() => void)[] = [];
  let left = perSlice;
  let timer: NodeJS.Timeout | undefined;

  function nextSlice(): void {
    const next = waiting.splice(0, perSlice);
    left = perSlice - next.length;
    // Without anybody for a whole slice there is nothing to keep time of.
    timer = next.length === 0 ? undefined : setTimeout(nextSlice, sliceMilliseconds);
    for (const enter of next) enter();
  }

  return {
    enter() {
      timer ??= setTimeout(nextSlice, sliceMilliseconds);
      if (left > 0 && waiting.length === 0) {
        left -= 1;
        return undefined;
      }
      return new Promise((resolve) => waiting.push(resolve));
    },
    get waiting() {
      return waiting.length;
    },
    stop() {
      clearTimeout(timer);
      left = Number.POSITIVE_INFINITY;
      for (const enter of waiting.splice(0)) enter();
    },
  };
}
