import { subprotocol } from "../message.js";
import type { WebSocketClass, WebSocketLike } from "./types.js";
import type { Received } from "./wire.js";

/** How long the gateway may take to open a socket, or to answer, in milliseconds. */
const answerMilliseconds = 10_000;
/** How long it may take to agree that a socket is closed. */
const closeMilliseconds = 1_000;
/** No timer holds more. */
const longestMilliseconds = 2 ** 31 - 1;
const cutOff = 1006;
const isOpen = 1;

export interface LineOptions {
  readonly url: string;
  readonly WebSocket: WebSocketClass;
  /** After how long a silence the gateway is asked whether it is there; 0: never. */
  readonly silenceMilliseconds: number;
  opened(): void;
  heard(message: Received): void;
  /** Told once, and not of what `close` was called for. */
  lost(code: number, reason: string): void;
}

/** One websocket, which notices that nobody is at its other end. */
export class Line {
  readonly #options: LineOptions;
  readonly #socket: WebSocketLike;
  #heardAt = performance.now();
  #askedAt: number | undefined;
  #watch: ReturnType<typeof setTimeout>;

  /** @throws whatever the runtime does where it may not connect there */
  constructor(options: LineOptions) {
    this.#options = options;
    this.#socket = new options.WebSocket(options.url, [subprotocol]);
    this.#watch = setTimeout(() => this.#lose(), answerMilliseconds);
    this.#socket.onopen = () => {
      this.#hear();
      this.#watchSilence();
      options.opened();
    };
    this.#socket.onmessage = (event: { data: unknown }) => this.#receive(event.data);
    this.#socket.onclose = (event: { code: number; reason: unknown }) => {
      this.#leave();
      options.lost(event.code, String(event.reason));
    };
    // A close follows, which says no less.
    this.#socket.onerror = () => undefined;
  }

  get isOpen(): boolean {
    return this.#socket.readyState === isOpen;
  }

  /** @returns false where it is not open */
  send(text: string): boolean {
    if (!this.isOpen) return false;
    this.#socket.send(text);
    return true;
  }

  close(): void {
    this.#leave();
    this.#socket.close(1000);
    // Who does not answer would keep a process from ending.
    const timer: { unref?(): void } = setTimeout(() => this.#socket.terminate?.(), closeMilliseconds);
    timer.unref?.();
  }

  #receive(data: unknown): void {
    this.#hear();
    let message: Received;
    try {
      message = JSON.parse(String(data)) as Received;
    } catch {
      this.#lose("what the gateway sent can't be read");
      return;
    }
    this.#options.heard(message);
  }

  #hear(): void {
    this.#heardAt = performance.now();
    this.#askedAt = undefined;
  }

  /** The gateway's own pings are not shown to a page. */
  #watchSilence(): void {
    const { silenceMilliseconds } = this.#options;
    clearTimeout(this.#watch);
    if (silenceMilliseconds === 0) return;
    const patience = Math.min(answerMilliseconds, silenceMilliseconds);
    const now = performance.now();
    if (this.#askedAt === undefined && now - this.#heardAt >= silenceMilliseconds) {
      this.#askedAt = now;
      this.send('{"type":"ping"}');
    } else if (this.#askedAt !== undefined && now - this.#askedAt >= patience) {
      this.#lose();
      return;
    }
    const due = this.#askedAt === undefined ? this.#heardAt + silenceMilliseconds : this.#askedAt + patience;
    this.#watch = setTimeout(() => this.#watchSilence(), Math.min(longestMilliseconds, Math.max(1, due - now)));
  }

  /** A socket that hangs may take minutes to close, if ever. */
  #lose(reason = "the gateway does not answer"): void {
    this.close();
    this.#options.lost(cutOff, reason);
  }

  #leave(): void {
    clearTimeout(this.#watch);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }
}
