import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";

type Message = Record<string, unknown>;

/** One connection to a gateway that says what a spec has it say. */
export interface ScriptedConnection {
  readonly received: readonly Message[];
  /** @returns the next message of this type that was not handed out yet */
  next(type: string, timeoutMilliseconds?: number): Promise<Message>;
  /** All in one piece, so that they come together. */
  send(...messages: Message[]): void;
  welcome(user?: string): void;
  close(code: number): void;
  /** Reads no more, and so does not answer. */
  hang(): void;
  readonly isClosed: boolean;
}

export interface Scripted {
  readonly url: string;
  readonly connections: readonly ScriptedConnection[];
  /** @returns the next connection that was not handed out yet */
  next(timeoutMilliseconds?: number): Promise<ScriptedConnection>;
  dispose(): Promise<void>;
}

const limits = { payloadKilobytes: 2, messagesPerMinute: 600 };

/** A gateway for what none that keeps its promises does, or does when it is wished for. */
export async function startScripted(): Promise<Scripted> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const connections: ScriptedConnection[] = [];
  let handedOut = 0;
  server.on("connection", (socket) => connections.push(connectionOf(socket)));
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`,
    connections,
    async next(timeoutMilliseconds = 10_000) {
      if (connections.length <= handedOut) {
        await once(server, "connection", { signal: AbortSignal.timeout(timeoutMilliseconds) });
      }
      return connections[handedOut++] as ScriptedConnection;
    },
    async dispose() {
      for (const socket of server.clients) socket.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function connectionOf(socket: WebSocket): ScriptedConnection {
  const received: Message[] = [];
  const taken = new Set<Message>();
  let wake = (): void => undefined;
  let isClosed = false;
  socket.on("message", (data) => {
    received.push(JSON.parse(String(data)) as Message);
    wake();
  });
  socket.on("close", () => {
    isClosed = true;
  });
  const connection: ScriptedConnection = {
    received,
    get isClosed() {
      return isClosed;
    },
    async next(type, timeoutMilliseconds = 10_000) {
      const deadline = performance.now() + timeoutMilliseconds;
      for (;;) {
        const found = received.find((message) => message.type === type && !taken.has(message));
        if (found !== undefined) {
          taken.add(found);
          return found;
        }
        const left = deadline - performance.now();
        if (left <= 0) throw new Error(`no ${type} in ${timeoutMilliseconds} ms: ${JSON.stringify(received)}`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
    send(...messages) {
      // The stream under it is corked, so that one packet has them all.
      const stream = (socket as unknown as { _socket: { cork(): void; uncork(): void } })._socket;
      stream.cork();
      for (const message of messages) socket.send(JSON.stringify(message));
      stream.uncork();
    },
    welcome(user) {
      connection.send({ type: "welcome", user: user === undefined ? null : { sub: user }, limits });
    },
    close(code) {
      socket.close(code);
    },
    hang() {
      socket.pause();
    },
  };
  return connection;
}
