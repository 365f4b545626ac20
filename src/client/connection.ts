import { subprotocol } from "../message.js";
import { call } from "./call.js";
import { ClientError, closeError, type Remedy, remedyFor } from "./error.js";
import { LiveCopy } from "./live.js";
import { type Asked, createQuery, toMessage } from "./query.js";
import { expiresInMilliseconds } from "./token.js";
import type { Client, ClientState, ConnectOptions, Doc, LiveOptions, Query, WebSocketLike } from "./types.js";
import { waitFor } from "./wait.js";
import type { Follower, Received } from "./wire.js";

/** How long the gateway may take to answer, in milliseconds; also a socket to open. */
const answerMilliseconds = 10_000;
/** A connection that lived shorter than this, in milliseconds, has not worked. */
const workedMilliseconds = 2_000;
/** How often in a row a token that was refused may be offered again, at growing distances, before that is final. */
const mostRefusals = 5;
const cutOff = 1006;
const isOpen = 1;

type Timer = ReturnType<typeof setTimeout> | undefined;

/** One connection at a time, and what is live on it. */
export class Connection implements Client {
  readonly #url: string;
  readonly #options: ConnectOptions & Required<Pick<ConnectOptions, "WebSocket" | "unauthorizedCode">>;
  readonly #lives = new Set<Follower>();
  /** By the id of their subscription. */
  readonly #joined = new Map<number, Follower>();
  readonly #listeners = new Set<() => void>();
  #socket: WebSocketLike | undefined;
  #state: ClientState = "connecting";
  #user: { sub: string } | null | undefined;
  #error: ClientError | undefined;
  #nextId = 1;
  #failures = 0;
  #welcomedAt: number | undefined;
  /** What the gateway would not have. */
  #refused: { token: string | undefined } | undefined;
  #token: string | undefined;
  #retry: Timer;
  #silence: Timer;
  #renewal: Timer;

  constructor(url: string | URL, options: ConnectOptions) {
    const { WebSocket = globalThis.WebSocket, unauthorizedCode = 4401 } = options;
    if (WebSocket === undefined) {
      throw new TypeError(
        "this runtime has no WebSocket: give one as `WebSocket`, such as the class of the package ws",
      );
    }
    this.#options = { ...options, WebSocket: WebSocket as new () => WebSocketLike, unauthorizedCode };
    this.#url = addressOf(url);
    globalThis.addEventListener?.("online", this.#online);
    void this.#open();
  }

  get state(): ClientState {
    return this.#state;
  }

  get user(): { sub: string } | null | undefined {
    return this.#user;
  }

  get error(): ClientError | undefined {
    return this.#error;
  }

  interface<Row extends Doc>(name: string): Query<Row> {
    return createQuery<Row>({ interface: name }, (asked, options) => this.#begin(asked, options));
  }

  subscribe(listener: (client: Client) => void): () => void {
    const own = (): void => call<Client>(listener, this);
    this.#listeners.add(own);
    own();
    return () => this.#listeners.delete(own);
  }

  async renew(): Promise<void> {
    const token = await this.#askForToken();
    if (token !== undefined && token !== this.#token) this.#authenticate(token);
  }

  close(): void {
    this.#end(undefined);
  }

  #begin<Row extends Doc>(asked: Asked, options: LiveOptions<Row>): LiveCopy<Row> {
    let id: number | undefined;
    const leave = (): void => {
      if (id !== undefined && this.#joined.delete(id)) this.#send({ type: "unsubscribe", id });
      id = undefined;
    };
    const live: LiveCopy<Row> = new LiveCopy(
      asked,
      {
        join: (question) => {
          if (this.#socket?.readyState !== isOpen) return;
          if (id !== undefined) this.#joined.delete(id);
          // Never one of before: what still comes under that is about rows that nobody holds.
          id = this.#nextId++;
          this.#joined.set(id, live);
          this.#send({ type: "subscribe", id, ...question });
        },
        leave,
        ping: () => this.#send({ type: "ping" }),
        ended: () => this.#lives.delete(live),
      },
      options,
    );
    if (this.#state === "closed") {
      live.end(this.#error);
      return live;
    }
    this.#lives.add(live);
    live.join();
    return live;
  }

  async #open(): Promise<void> {
    this.#become("connecting");
    let token: string | undefined;
    try {
      token = await this.#askForToken();
    } catch (cause) {
      if (this.#state === "closed") return;
      this.#lost(new ClientError("no-token", `no token: ${(cause as Error).message}`, { cause }), "backoff");
      return;
    }
    if (this.#state === "closed") return;
    if (this.#refused !== undefined && this.#refused.token === token) {
      // Where tokens are kept until they expire, the next one may be had a moment later.
      if (typeof this.#options.token !== "function" || this.#failures >= mostRefusals) this.#end(this.#error);
      else this.#lost(this.#error as ClientError, "backoff");
      return;
    }
    this.#connect(token);
  }

  #connect(token: string | undefined): void {
    let socket: WebSocketLike;
    try {
      socket = new this.#options.WebSocket(this.#url, [subprotocol]);
    } catch (cause) {
      // Such as from a page of https to a gateway without.
      this.#end(new ClientError("not-allowed", (cause as Error).message, { cause }));
      return;
    }
    this.#socket = socket;
    this.#welcomedAt = undefined;
    this.#token = undefined;
    this.#silence = setTimeout(() => this.#drop(socket), answerMilliseconds);
    socket.onopen = () => {
      this.#heard();
      // The gateway handles messages in their order, so there is no need to wait for its answer.
      if (token !== undefined) this.#authenticate(token);
      for (const live of this.#lives) live.join();
    };
    socket.onmessage = (event: { data: unknown }) => {
      this.#heard();
      this.#receive(JSON.parse(String(event.data)) as Received);
    };
    socket.onclose = (event: { code: number; reason: unknown }) => this.#closed(event.code, String(event.reason));
    // A close follows, which says no less.
    socket.onerror = () => undefined;
  }

  #receive(message: Received): void {
    if (message.type === undefined) {
      for (const live of this.#lives) live.change(message);
    } else if (message.type === "welcome") {
      this.#user = message.user;
      this.#welcomedAt ??= performance.now();
      this.#refused = undefined;
      this.#error = undefined;
      this.#become("open");
    } else if (message.type === "progress" || message.type === "pong") {
      for (const live of this.#lives) live.progress(message.position);
    } else if ("id" in message) {
      const about = this.#joined.get(message.id);
      // Which ends the subscription.
      if (message.type === "error") this.#joined.delete(message.id);
      about?.receive(message);
    }
  }

  /** A socket that hangs may take minutes to close, if ever. */
  #drop(socket: WebSocketLike): void {
    socket.close();
    this.#closed(cutOff, "the gateway does not answer");
  }

  #closed(code: number, reason: string): void {
    const { unauthorizedCode } = this.#options;
    const remedy = remedyFor(code, unauthorizedCode);
    const error = closeError(code, reason, unauthorizedCode);
    if (remedy === "token") this.#refused = { token: this.#token };
    if (remedy === "end") this.#end(error);
    else this.#lost(error, remedy);
  }

  #lost(error: ClientError, remedy: Remedy): void {
    this.#letGo();
    const worked = this.#welcomedAt !== undefined && performance.now() - this.#welcomedAt > workedMilliseconds;
    this.#welcomedAt = undefined;
    this.#failures = worked ? 0 : this.#failures + 1;
    this.#error = error;
    this.#retry = setTimeout(() => void this.#open(), waitFor(remedy, this.#failures));
    this.#become("waiting");
  }

  /** @param error - undefined where it was wished for */
  #end(error: ClientError | undefined): void {
    if (this.#state === "closed") return;
    const socket = this.#socket;
    this.#letGo();
    clearTimeout(this.#retry);
    globalThis.removeEventListener?.("online", this.#online);
    socket?.close(1000);
    this.#error = error;
    this.#become("closed");
    for (const live of [...this.#lives]) live.end(error);
  }

  /** Nothing more is heard from the socket, and nothing is live on it. */
  #letGo(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#silence);
    clearTimeout(this.#renewal);
    if (socket !== undefined) socket.onopen = socket.onmessage = socket.onclose = null;
    this.#joined.clear();
    this.#user = undefined;
    for (const live of this.#lives) live.left();
  }

  async #askForToken(): Promise<string | undefined> {
    const { token } = this.#options;
    return typeof token === "function" ? token() : token;
  }

  #authenticate(token: string): void {
    this.#token = token;
    this.#send({ type: "authenticate", token });
    clearTimeout(this.#renewal);
    if (typeof this.#options.token !== "function") return;
    const left = expiresInMilliseconds(token);
    // Where none is to be had now, the gateway closes the connection in time, and then it is asked for again and again.
    if (left !== undefined)
      this.#renewal = setTimeout(() => void this.renew().catch(() => undefined), renewAfter(left));
  }

  #send(message: Record<string, unknown>): void {
    if (this.#socket?.readyState === isOpen) this.#socket.send(toMessage(message));
  }

  /** The gateway's own pings are not shown to a page. */
  #heard(): void {
    const { silenceMilliseconds = 25_000 } = this.#options;
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#send({ type: "ping" });
      const socket = this.#socket;
      if (socket === undefined) return;
      this.#silence = setTimeout(() => this.#drop(socket), Math.min(answerMilliseconds, silenceMilliseconds));
    }, silenceMilliseconds);
  }

  /** A browser that has found its network again need not wait. */
  readonly #online = (): void => {
    if (this.#state !== "waiting") return;
    clearTimeout(this.#retry);
    void this.#open();
  };

  #become(state: ClientState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** @throws TypeError where it is no URL */
function addressOf(url: string | URL): string {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

/** A little before it expires: a tenth of the time that is left, but a minute at most. A timer holds no more than 24 days. */
function renewAfter(leftMilliseconds: number): number {
  return Math.min(2 ** 31 - 1, leftMilliseconds - Math.min(60_000, leftMilliseconds / 10));
}
