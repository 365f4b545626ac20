import { createHash, randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { monotonicMicroseconds } from "./clock.js";
import { FrameCounter, type FrameHandlers } from "./frames.js";

export interface ConnectionOptions {
  /** Such as `ws://127.0.0.1:8080/ws`. */
  url: string;
  /** The subprotocol to ask for. */
  protocol?: string | undefined;
  /** Sent in the handshake as `Authorization: Bearer`. */
  token?: string | undefined;
  /** Sent as text once the connection is open: subscriptions. */
  firstMessages?: readonly string[] | undefined;
  /** The connection counts as joined when so many messages with `readyText` came as it sent; without it, when it is open. */
  readyText?: string | undefined;
  /** How long that may take; 20 s by default. */
  joinMilliseconds?: number | undefined;
  /** Messages with fewer bytes are counted apart. */
  smallBelowBytes?: number | undefined;
  /** Parses every message and takes the time since its document's `written_at_us`. */
  sample?: boolean | undefined;
}

/** What a program that opens connections wants to hear, each of them at a cost. */
export interface Listener {
  /** Every data message, from the handshake on. */
  message?: (payload: Uint8Array) => void;
  pong?: () => void;
  /** It ended after it had joined. */
  closed?: () => void;
}

export interface Connection {
  readonly counter: FrameCounter;
  readonly reads: number;
  /** Undefined while it is open. */
  readonly closeCode: number | undefined;
  /** In microseconds, since the last `reset`. */
  readonly latencies: readonly number[];
  reset(): void;
  ping(): void;
  destroy(): void;
}

/** All sockets read into the same memory: each read is used up before the next one begins. */
const readBuffer = Buffer.allocUnsafe(256 * 1024);
const opcodes = { text: 1, ping: 9, pong: 10 } as const;
const defaultJoinMilliseconds = 20_000;
const noBytes = new Uint8Array(0);

/**
 * @returns the connection, once it has joined
 * @throws Error when the server refuses it, closes it or does not answer in time
 */
export function openConnection(options: ConnectionOptions, listener: Listener = {}): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const key = randomBytes(16).toString("base64");
    const latencies: number[] = [];
    let head: string | undefined = "";
    let reads = 0;
    let closeCode: number | undefined;
    let receivedAt = 0;
    let isJoined = false;
    let readies = options.firstMessages?.length ?? 1;

    const handlers: FrameHandlers = {
      ping: (payload) => socket.write(clientFrame(opcodes.pong, payload)),
      pong: () => listener.pong?.(),
      message: listener.message,
      close: (code) => {
        closeCode ??= code;
      },
    };
    const counter = new FrameCounter(handlers, { smallBelowBytes: options.smallBelowBytes ?? 0 });
    const connection: Connection = {
      counter,
      latencies,
      get reads() {
        return reads;
      },
      get closeCode() {
        return closeCode;
      },
      reset() {
        counter.reset();
        reads = 0;
        latencies.length = 0;
      },
      ping: () => void socket.write(clientFrame(opcodes.ping, noBytes)),
      destroy: () => socket.resetAndDestroy(),
    };

    const fail = (error: Error) => {
      clearTimeout(timer);
      reject(error);
      socket.destroy();
    };
    const timer = setTimeout(
      () => fail(new Error(`no connection to ${options.url} in time`)),
      options.joinMilliseconds ?? defaultJoinMilliseconds,
    );
    const joined = () => {
      clearTimeout(timer);
      isJoined = true;
      handlers.message = options.sample ? takeLatency : listener.message;
      resolve(connection);
    };
    const takeLatency = (payload: Uint8Array) => {
      const message = JSON.parse(Buffer.from(payload).toString()) as { data?: { written_at_us?: number } };
      const writtenAt = message.data?.written_at_us;
      if (writtenAt !== undefined) latencies.push(receivedAt - writtenAt);
    };
    const awaitReady = (payload: Uint8Array) => {
      listener.message?.(payload);
      if (Buffer.from(payload).includes(options.readyText ?? "") && --readies === 0) joined();
    };

    const readHead = (length: number): number => {
      const before = head?.length ?? 0;
      head += readBuffer.toString("latin1", 0, length);
      const end = (head ?? "").indexOf("\r\n\r\n");
      if (end < 0) return length;
      const refusal = whyNotAccepted((head ?? "").slice(0, end), key);
      head = undefined;
      if (refusal !== undefined) throw new Error(`${options.url} refused: ${refusal}`);
      if (options.readyText === undefined) joined();
      else handlers.message = awaitReady;
      const first = options.firstMessages?.map((message) => clientFrame(opcodes.text, Buffer.from(message))) ?? [];
      if (first.length > 0) socket.write(Buffer.concat(first));
      return end + 4 - before;
    };

    const url = new URL(options.url);
    const socket: Socket = connect({
      host: url.hostname,
      port: Number(url.port),
      onread: {
        buffer: readBuffer,
        callback: (length) => {
          if (options.sample) receivedAt = monotonicMicroseconds();
          reads += 1;
          try {
            counter.feed(readBuffer, length, head === undefined ? 0 : readHead(length));
          } catch (error) {
            closeCode ??= 1002;
            fail(error as Error);
          }
          return true;
        },
      },
    });
    socket.setNoDelay(true);
    socket.on("connect", () => socket.write(requestHead(url, key, options)));
    socket.on("error", (error) => fail(error));
    socket.on("close", () => {
      closeCode ??= 1006;
      const when = head === undefined ? "before it was ready" : "during the handshake";
      fail(new Error(`${options.url} closed the connection with ${closeCode} ${when}`));
      if (isJoined) listener.closed?.();
    });
  });
}

function requestHead(url: URL, key: string, { protocol, token }: ConnectionOptions): string {
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${url.host}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
  ];
  if (protocol !== undefined) lines.push(`Sec-WebSocket-Protocol: ${protocol}`);
  if (token !== undefined) lines.push(`Authorization: Bearer ${token}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** The constant is the one of RFC 6455, section 1.3. */
function whyNotAccepted(head: string, key: string): string | undefined {
  const status = head.split("\r\n", 1)[0] ?? "";
  if (!/^HTTP\/1\.1 101\b/.test(status)) return status;
  const expected = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const accept = /^sec-websocket-accept:\s*(\S+)/im.exec(head)?.[1];
  return accept === expected ? undefined : `it answered with the wrong key ${accept}`;
}

/** A client must mask. A mask of zeros leaves the bytes as they are. */
function clientFrame(opcode: number, payload: Uint8Array): Buffer {
  const length = payload.length;
  const header =
    length < 126
      ? [0x80 | opcode, 0x80 | length, 0, 0, 0, 0]
      : [0x80 | opcode, 0x80 | 126, length >> 8, length & 0xff, 0, 0, 0, 0];
  if (length > 65_535) throw new Error("the load generator sends messages of up to 65,535 bytes");
  return Buffer.concat([Buffer.from(header), payload]);
}
