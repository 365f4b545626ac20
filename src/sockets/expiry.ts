import type { Socket } from "./connection.js";

/** Sockets that are ended in one turn of the event loop. */
const endsPerTurn = 500;

export interface Expiry {
  /**
   * Files a connection, or files it again under another end.
   *
   * @param endsAt - on the monotonic clock, in milliseconds; undefined where it has no end
   */
  file(socket: Socket, endsAt: number | undefined): void;
  forget(socket: Socket): void;
  stop(): void;
}

/**
 * Ends connections when their token has expired, within two seconds. They are filed by the second in which they end, so that
 * a tick touches no connection but those that are due, and no timer has to run for longer than timers can.
 *
 * @param end - called for each that is due
 */
export function createExpiry(end: (socket: Socket) => void): Expiry {
  const bySecond = new Map<number, Set<Socket>>();
  const secondOf = new Map<Socket, number>();
  let next = second();
  const timer = setInterval(() => {
    const due: Socket[] = [];
    for (const now = second(); next <= now; next++) {
      for (const socket of bySecond.get(next) ?? []) due.push(socket);
      bySecond.delete(next);
    }
    if (due.length > 0) void endAll(due);
  }, 1_000);
  timer.unref();

  async function endAll(due: readonly Socket[]): Promise<void> {
    let ended = 0;
    for (const socket of due) {
      // Meanwhile it may have closed, or have been filed again.
      const filed = secondOf.get(socket);
      if (filed === undefined || filed >= next) continue;
      secondOf.delete(socket);
      end(socket);
      if (++ended % endsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  function forget(socket: Socket): void {
    const filed = secondOf.get(socket);
    if (filed === undefined) return;
    secondOf.delete(socket);
    const together = bySecond.get(filed);
    together?.delete(socket);
    if (together?.size === 0) bySecond.delete(filed);
  }

  return {
    file(socket, endsAt) {
      forget(socket);
      if (endsAt === undefined) return;
      const filed = Math.max(next, Math.ceil(endsAt / 1_000));
      secondOf.set(socket, filed);
      bySecond.set(filed, (bySecond.get(filed) ?? new Set()).add(socket));
    },
    forget,
    stop() {
      clearInterval(timer);
    },
  };
}

function second(): number {
  return Math.floor(performance.now() / 1_000);
}
