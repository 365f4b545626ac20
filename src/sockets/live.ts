import type { VerifyToken } from "../auth/tokens.js";
import type { User } from "../config/settings.js";
import type { View } from "../dispatcher/view.js";
import { closeCodes } from "../message.js";
import type { Socket } from "./connection.js";
import { Session, type SessionChannel, type SessionOptions } from "./session.js";
import { Topics } from "./topics.js";

/** How long a client may take to say who it is, in milliseconds. */
const authenticationMilliseconds = 10_000;
const progressMilliseconds = 10_000;
/** How often somebody who waits for room looks whether there is some, in milliseconds. */
const lookMilliseconds = 100;

export interface LiveOptions extends SessionOptions {
  readonly verifyToken: VerifyToken;
  /** What may wait for one connection before more waits here, in bytes. */
  readonly fullBytes: number;
  end(socket: Socket, code: number, reason: string): void;
  /** The client has said who it is, at first or anew. */
  identified(socket: Socket, user: User, endsAt: number | undefined): void;
}

/** The connections with the subprotocol `tailgate.v1`, each with its session. */
export class LiveConnections {
  readonly #live = new Map<Socket, LiveConnection>();
  readonly #options: LiveOptions;
  readonly #timer: NodeJS.Timeout;

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#progress(), progressMilliseconds);
    this.#timer.unref();
  }

  open(socket: Socket): void {
    this.#live.set(socket, new LiveConnection(socket, this.#options));
  }

  receive(socket: Socket, message: ArrayBuffer): void {
    this.#live.get(socket)?.session.receive(Buffer.from(message).toString("utf8"));
  }

  drained(socket: Socket): void {
    this.#live.get(socket)?.wake();
  }

  close(socket: Socket): void {
    this.#live.get(socket)?.close();
    this.#live.delete(socket);
  }

  get sessions(): Iterable<Session> {
    return [...this.#live.values()].map(({ session }) => session);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #progress(): void {
    const { head } = this.#options.dispatcher;
    if (head === undefined) return;
    // One text for all of them.
    const text = JSON.stringify({ type: "progress", position: head });
    for (const session of this.sessions) session.progress(text);
  }
}

/** One connection. Thousands of them are idle: it has no closures of its own, and what is the same for all is shared. */
class LiveConnection implements SessionChannel {
  readonly session: Session;
  readonly #options: LiveOptions;
  readonly #topics = new Topics();
  /** Undefined once it has closed, for then it must not be touched. */
  #socket: Socket | undefined;
  /** Runs until the client has said who it is. */
  #timer: NodeJS.Timeout | undefined;
  /** Those who wait for something to leave. */
  #waiters: (() => void)[] | undefined;
  #look: NodeJS.Timeout | undefined;

  constructor(socket: Socket, options: LiveOptions) {
    this.#socket = socket;
    this.#options = options;
    this.session = new Session(this, options, socket.getUserData().connection.user);
    if (!this.session.isAuthenticated) this.#timer = setTimeout(() => this.#timeOut(), authenticationMilliseconds);
  }

  close(): void {
    this.#socket = undefined;
    this.#stopTimer();
    this.session.close();
    this.wake();
  }

  wake(): void {
    const woken = this.#waiters;
    this.#waiters = undefined;
    clearTimeout(this.#look);
    this.#look = undefined;
    for (const each of woken ?? []) each();
  }

  async authenticate(token: string): Promise<User> {
    const { user, endsAt } = await this.#options.verifyToken(token);
    if (user === null) throw new TypeError("a token without a user");
    this.#stopTimer();
    if (this.#socket !== undefined) this.#options.identified(this.#socket, user, endsAt);
    return user;
  }

  send(text: string): void {
    this.#socket?.send(text, false, false);
  }

  together(work: () => void): void {
    this.#socket?.cork(work);
  }

  isFull(): boolean {
    return this.#socket !== undefined && this.#socket.getBufferedAmount() > this.#options.fullBytes;
  }

  drained(): Promise<void> {
    if (this.#socket === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters ??= [];
      this.#waiters.push(resolve);
      // uWebSockets does not tell of every buffer that has emptied: two in a minute of slow readers were waited for in vain.
      this.#look ??= setTimeout(() => this.#wakeIfRoom(), lookMilliseconds);
    });
  }

  #wakeIfRoom(): void {
    if (this.isFull()) this.#look?.refresh();
    else this.wake();
  }

  attach(view: View): void {
    this.#change(view, ({ subscriptions }) => ({ subscriptions: subscriptions + 1 }));
  }

  detach(view: View): void {
    this.#change(view, ({ subscriptions }) => ({ subscriptions: subscriptions - 1 }));
  }

  beginReplay(view: View): void {
    this.#change(view, () => ({ isReplaying: true }));
  }

  endReplay(view: View, hasAll: boolean): void {
    this.#change(view, () => ({ isReplaying: false }));
    if (!hasAll && this.isFollowed(view)) this.session.resetFollowers(view, "too-far-behind");
  }

  isFollowed(view: View): boolean {
    return this.#topics.isWanted(view);
  }

  end(code: number, reason: string): void {
    if (this.#socket !== undefined) this.#options.end(this.#socket, code, reason);
  }

  /** Also after the connection has closed, when only the view's count of connections is left to be put right. */
  #change(view: View, to: Parameters<Topics["change"]>[1]): void {
    const change = this.#topics.change(view, to);
    if (change === "on") {
      view.liveConnections += 1;
      this.#socket?.subscribe(view.id);
    } else if (change === "off") {
      view.liveConnections -= 1;
      this.#socket?.unsubscribe(view.id);
    }
  }

  #timeOut(): void {
    if (!this.session.isAuthenticated) this.end(closeCodes.authenticationTimeout, "no authenticate message in 10 s");
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
