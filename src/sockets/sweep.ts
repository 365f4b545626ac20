import type { Socket } from "./connection.js";

/** How often the sweep may run, in milliseconds. */
const interval = 20;
/** How long a reader may take for one message that is larger than what may wait for it, in milliseconds. */
const largeMilliseconds = 30_000;
/** With less than a whole share published, how long what is there may go unlooked at, in milliseconds. */
const patience = 500;

/**
 * Ends connections that have more waiting for them than their buffer may hold.
 *
 * No socket's buffer can grow by more than what has been published, so the sweep looks at the sockets each time that a
 * quarter of the limit has been published since it last did: between two looks a buffer passes the limit by a quarter at
 * most. With little traffic it costs nothing.
 *
 * @param options.limitBytes - what may wait for one connection
 * @param options.sockets - those to look at
 * @param options.end - called for each that is over the limit
 */
export function createSweep(options: {
  limitBytes: number;
  sockets: Iterable<Socket>;
  end: (socket: Socket, bufferedBytes: number) => void;
}): { published(bytes: number): void; stop(): void } {
  let publishedBytes = 0;
  let last = performance.now();
  let isStopped = false;
  let isSoon = false;
  /** The largest message that has been published lately. */
  let large = { bytes: 0, until: 0 };

  function look(): void {
    const now = performance.now();
    last = now;
    publishedBytes = 0;
    // That a single message is more than may wait is no fault of who reads it.
    const allowedBytes = options.limitBytes + (now < large.until ? large.bytes : 0);
    for (const socket of options.sockets) {
      const buffered = socket.getBufferedAmount();
      if (buffered <= allowedBytes) continue;
      if (buffered > options.limitBytes + socket.getUserData().connection.allowedBytes) options.end(socket, buffered);
    }
  }

  const timer = setInterval(() => {
    const isMuch = publishedBytes >= options.limitBytes / 4;
    if (isMuch || (publishedBytes > 0 && performance.now() - last >= patience)) look();
  }, interval);
  timer.unref();
  return {
    published(bytes) {
      publishedBytes += bytes;
      if (bytes > options.limitBytes / 2) {
        const now = performance.now();
        large = { bytes: now < large.until ? Math.max(bytes, large.bytes) : bytes, until: now + largeMilliseconds };
      }
      // A burst can publish several times the limit before the timer comes round, and then messages would be dropped.
      if (publishedBytes < options.limitBytes || isSoon) return;
      isSoon = true;
      setImmediate(() => {
        isSoon = false;
        if (!isStopped) look();
      });
    },
    stop() {
      isStopped = true;
      clearInterval(timer);
    },
  };
}
