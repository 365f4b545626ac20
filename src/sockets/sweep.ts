import type { Socket } from "./connection.js";

/** How often the sweep may run, in milliseconds. */
const interval = 20;
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

  function look(): void {
    last = performance.now();
    publishedBytes = 0;
    for (const socket of options.sockets) {
      const buffered = socket.getBufferedAmount();
      if (buffered <= options.limitBytes) continue;
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
