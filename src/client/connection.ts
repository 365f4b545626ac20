import { call } from "./call.js";
import { ClientError, closeError, type Remedy, remedyFor } from "./error.js";
import { Line } from "./line.js";
import { Lives } from "./lives.js";
import { Pinger } from "./pinger.js";
import { createQuery } from "./query.js";
import { renewAfter, subjectOf, Tokens } from "./tokens.js";
import type { Client, ClientState, ConnectOptions, Doc, Query, WebSocketClass } from "./types.js";
import { waitFor } from "./wait.js";
import type { Received, Welcome } from "./wire.js";

/** A connection that lived shorter than this, in milliseconds, has not worked. */
const workedMilliseconds = 2_000;
/** A token that is about to expire, and no other is to be had yet, in milliseconds. */
const askAgainMilliseconds = 10_000;
const leastPingMilliseconds = 250;
/** No timer holds more. */
const longestMilliseconds = 2 ** 31 - 1;
const unauthorized = 4401;

type Timer = ReturnType<typeof setTimeout> | undefined;

/** One websocket at a time, and what is live on it. */
export class Connection implements Client {
  readonly #url: string;
  readonly #options: ConnectOptions;
  readonly #WebSocket: WebSocketClass;
  readonly #unauthorizedCode: number;
  readonly #tokens: Tokens;
  readonly #lives: Lives;
  readonly #listeners = new Set<() => void>();
  #state: ClientState = "connecting";
  #user: { sub: string } | null | undefined;
  #error: ClientError | undefined;
  /** Of the connection that is open, or on the way: aborted when that is given up. */
  #attempt = new AbortController();
  #line: Line | undefined;
  #messagesPerMinute: number | undefined;
  /** Connections in a row that did not work. */
  #failures = 0;
  #welcomedAt: number | undefined;
  /** What is sent when the socket opens, and what has been sent. */
  #offered: string | undefined;
  #sent: string | undefined;
  /** Whose the copies are, where somebody has signed in. */
  #owner: string | undefined;
  #retry: Timer;
  #renewal: Timer;

  constructor(url: string | URL, options: ConnectOptions) {
    const WebSocket = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
    if (WebSocket === undefined) {
      throw new TypeError(
        "this runtime has no WebSocket: give one as `WebSocket`, such as the class of the package ws",
      );
    }
    this.#WebSocket = WebSocket;
    this.#options = options;
    this.#unauthorizedCode = options.unauthorizedCode ?? unauthorized;
    this.#tokens = new Tokens(options.token);
    this.#url = addressOf(url);
    const pinger = new Pinger(
      () => this.#send({ type: "ping" }),
      // At most half of what may be sent is questions.
      () => Math.max(leastPingMilliseconds, 120_000 / (this.#messagesPerMinute ?? 600)),
    );
    this.#lives = new Lives(
      (text) => this.#line?.send(text) ?? false,
      () => pinger.begin(),
    );
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
    return createQuery<Row>({ interface: name }, (asked, options) => {
      const live = this.#lives.begin(asked, options);
      if (this.#state === "closed") live.end(this.#error ?? new ClientError("closed", "the connection was closed"));
      return live;
    });
  }

  readonly subscribe = (listener: (client: Client) => void): (() => void) => {
    const own = (): void => call<Client>(listener, this);
    this.#listeners.add(own);
    own();
    return () => this.#listeners.delete(own);
  };

  async renew(): Promise<void> {
    const token = await this.#tokens.ask();
    // Where there is no socket, the one that comes next asks for the newest token, too.
    if (this.#state === "closed" || this.#line === undefined) return;
    if (!this.#line.isOpen) this.#offer(token);
    else if (token === undefined ? this.#sent !== undefined : this.#isOther(token)) this.#restart(token);
    else if (token !== undefined && token !== this.#sent) this.#authenticate(token);
  }

  close(): void {
    this.#end(undefined);
  }

  /** @param given - a token that was asked for just now */
  async #open(given?: { token: string | undefined }): Promise<void> {
    this.#attempt.abort();
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    clearTimeout(this.#retry);
    this.#become("connecting");
    let token = given?.token;
    try {
      if (given === undefined) token = await this.#tokens.ask();
    } catch (error) {
      if (!signal.aborted) this.#lost(error as ClientError, "backoff");
      return;
    }
    if (signal.aborted) return;
    if (this.#tokens.wasRefused(token)) {
      if (this.#tokens.isFinal) return this.#end(this.#error);
      if (this.#tokens.mayChange) {
        // Where tokens are kept until they expire, another may be had a little later.
        this.#tokens.refuse(token);
        return this.#lost(this.#error as ClientError, "backoff");
      }
    }
    this.#connect(token);
  }

  #connect(token: string | undefined): void {
    this.#welcomedAt = undefined;
    this.#sent = undefined;
    this.#offer(token);
    const { silenceMilliseconds = 25_000 } = this.#options;
    try {
      this.#line = new Line({
        url: this.#url,
        WebSocket: this.#WebSocket,
        silenceMilliseconds: Number.isFinite(silenceMilliseconds) ? silenceMilliseconds : 0,
        opened: () => {
          // The gateway handles messages in their order, so there is no need to wait for its answer.
          if (this.#offered !== undefined) this.#authenticate(this.#offered);
          this.#lives.join();
        },
        heard: (message) => this.#receive(message),
        lost: (code, reason) => this.#closed(code, reason),
      });
    } catch (cause) {
      // Such as from a page of https to a gateway without.
      this.#end(new ClientError("not-allowed", (cause as Error).message, { cause }));
    }
  }

  #receive(message: Received): void {
    if (message.type === "welcome") this.#welcome(message);
    else this.#lives.receive(message);
  }

  #welcome(welcome: Welcome): void {
    const { user, limits } = welcome;
    // Where anonymous connections are allowed this one is, for the moment until its token has been read.
    if (user === null && this.#sent !== undefined) return;
    this.#welcomedAt ??= performance.now();
    this.#tokens.accept();
    this.#user = user;
    this.#owner = user?.sub ?? this.#owner;
    this.#error = undefined;
    this.#become("open");
    this.#messagesPerMinute = limits.messagesPerMinute;
    this.#lives.welcome(welcome);
  }

  #closed(code: number, reason: string): void {
    const remedy = remedyFor(code, this.#unauthorizedCode);
    const error = closeError(code, reason, this.#unauthorizedCode);
    // One that was good before has expired.
    if (remedy === "token" && this.#welcomedAt === undefined) this.#tokens.refuse(this.#sent);
    if (remedy === "end") this.#end(error);
    else this.#lost(error, remedy);
  }

  #lost(error: ClientError, remedy: Remedy): void {
    const worked = this.#welcomedAt !== undefined && performance.now() - this.#welcomedAt > workedMilliseconds;
    this.#letGo();
    this.#failures = worked ? 0 : this.#failures + 1;
    this.#error = error;
    this.#retry = setTimeout(() => void this.#open(), waitFor(remedy, this.#failures));
    this.#become("waiting");
  }

  /** @param error - undefined where it was wished for */
  #end(error: ClientError | undefined): void {
    if (this.#state === "closed") return;
    this.#letGo();
    clearTimeout(this.#retry);
    globalThis.removeEventListener?.("online", this.#online);
    this.#error = error;
    this.#become("closed");
    this.#lives.end(error);
  }

  /** Somebody else is there, or nobody any more. */
  #restart(token: string | undefined): void {
    this.#letGo();
    void this.#open({ token });
  }

  #letGo(): void {
    this.#attempt.abort();
    this.#line?.close();
    this.#line = undefined;
    this.#welcomedAt = undefined;
    clearTimeout(this.#renewal);
    this.#user = undefined;
    this.#lives.disconnected();
  }

  /** @param token - to be sent as soon as there is a socket */
  #offer(token: string | undefined): void {
    this.#offered = token;
    const isOther = token === undefined ? this.#owner !== undefined : this.#isOther(token);
    // Of a cookie nobody here knows whose it is. The gateway does, and resets what is another view.
    if (!isOther || !this.#tokens.areGiven) return;
    this.#owner = undefined;
    this.#lives.discard();
  }

  /** Whether it is somebody else's than what is shown. */
  #isOther(token: string): boolean {
    const subject = subjectOf(token);
    return this.#owner !== undefined && subject !== undefined && subject !== this.#owner;
  }

  #authenticate(token: string): void {
    this.#sent = token;
    this.#send({ type: "authenticate", token });
    const wait = renewAfter(token);
    if (wait !== undefined && this.#tokens.mayChange) this.#renewIn(wait);
  }

  #renewIn(milliseconds: number): void {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(
      () => {
        this.#renewIn(askAgainMilliseconds);
        // Where there is none, it is asked for again, and in the end the gateway closes the connection.
        void this.renew().catch(() => undefined);
      },
      Math.min(longestMilliseconds, milliseconds),
    );
  }

  #send(message: Record<string, unknown>): void {
    this.#line?.send(JSON.stringify(message));
  }

  /** A browser that has found its network again need not wait. */
  readonly #online = (): void => {
    if (this.#state === "waiting" || (this.#state === "connecting" && this.#line === undefined)) void this.#open();
  };

  #become(state: ClientState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) if (this.#listeners.has(listener)) listener();
  }
}

/** @throws TypeError where it is no URL */
function addressOf(url: string | URL): string {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}
