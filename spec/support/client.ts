import { once } from "node:events";
import WebSocket, { type ClientOptions } from "ws";

export interface TestClient {
  readonly socket: WebSocket;
  /** Every message so far, decoded. */
  readonly received: readonly Record<string, unknown>[];
  /** @returns the next message that was not handed out yet; messages are queued, so that none is missed. */
  next(timeoutMilliseconds?: number): Promise<Record<string, unknown>>;
  /** @returns the next `count` messages. */
  take(count: number, timeoutMilliseconds?: number): Promise<Record<string, unknown>[]>;
  /** Waits until something received satisfies the condition, and hands out all up to it. */
  until(
    condition: (message: Record<string, unknown>) => boolean,
    timeoutMilliseconds?: number,
  ): Promise<Record<string, unknown>[]>;
  /** Resolves when the connection has closed. */
  readonly closed: Promise<{ code: number; reason: string }>;
  close(): Promise<void>;
}

interface ClientSettings {
  protocols?: string[];
  progress?: boolean;
  heard?: (text: string) => void;
}

/**
 * A websocket client by others (`ws`), with a queue. Resolves when it is open, or has been closed at once.
 *
 * @param options.progress - whether `progress` is handed out as well; it comes at moments of its own, between any two messages
 * @param options.heard - told of every message's text as it comes; `received` is then left empty, for a client that lasts
 */
export async function connectClient(
  url: string,
  { heard, progress = false, ...options }: ClientOptions & ClientSettings = {},
): Promise<TestClient> {
  const socket = new WebSocket(url, options.protocols ?? [], options);
  const received: Record<string, unknown>[] = [];
  let handedOut = 0;
  let wake = (): void => {};
  socket.on("message", (data) => {
    if (heard !== undefined) return heard(String(data));
    const message = JSON.parse(String(data)) as Record<string, unknown>;
    if (message.type === "progress" && !progress) return;
    received.push(message);
    wake();
  });
  let failure = "";
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on("close", (code, reason) => {
      resolve({ code, reason: String(reason) || failure });
      wake();
    });
  });
  socket.on("error", ({ message }) => {
    // The close event follows, with a code; what the socket met is the reason of one that nobody sent.
    failure = message;
  });
  await Promise.race([once(socket, "open"), closed]);

  async function next(timeoutMilliseconds = 20_000): Promise<Record<string, unknown>> {
    const deadline = performance.now() + timeoutMilliseconds;
    while (handedOut >= received.length) {
      if (socket.readyState === WebSocket.CLOSED)
        throw new Error(`closed after ${received.length} messages ${JSON.stringify(await closed)}`);
      const left = deadline - performance.now();
      if (left <= 0)
        throw new Error(`no message in ${timeoutMilliseconds} ms; received ${JSON.stringify(received.slice(-3))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return received[handedOut++] as Record<string, unknown>;
  }

  return {
    socket,
    received,
    closed,
    next,
    async take(count, timeoutMilliseconds) {
      const messages: Record<string, unknown>[] = [];
      while (messages.length < count) messages.push(await next(timeoutMilliseconds));
      return messages;
    },
    async until(condition, timeoutMilliseconds) {
      const messages: Record<string, unknown>[] = [];
      for (;;) {
        const message = await next(timeoutMilliseconds);
        messages.push(message);
        if (condition(message)) return messages;
      }
    },
    async close() {
      if (socket.readyState === WebSocket.CLOSED) return;
      socket.close();
      await closed;
    },
  };
}
