import type { VerifyToken } from "../auth/tokens.js";
import type { Settings } from "../config/settings.js";
import type { Dispatcher } from "../dispatcher/dispatcher.js";
import type { Snapshots } from "../dispatcher/snapshot.js";
import type { View } from "../dispatcher/view.js";
import type { Logger } from "../log.js";
import { closeCodes } from "../message.js";
import type { Metrics } from "../metrics.js";
import type { Socket } from "./connection.js";
import { Session } from "./session.js";
import { Topics } from "./topics.js";

/** How long a client may take to say who it is, in milliseconds. */
const authenticationMilliseconds = 10_000;
const progressMilliseconds = 10_000;

export interface LiveOptions {
  readonly settings: Settings;
  readonly dispatcher: Dispatcher;
  readonly snapshots: Snapshots;
  readonly verifyToken: VerifyToken;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** What may wait for one connection before more waits here, in bytes. */
  readonly fullBytes: number;
  end(socket: Socket, code: number, reason: string): void;
  /** The client has said who it is, at first or anew. */
  identified(socket: Socket, user: NonNullable<Session["user"]>, endsAt: number | undefined): void;
}

interface Live {
  readonly session: Session;
  readonly close: () => void;
  drained(): void;
}

/** The connections with the subprotocol `tailgate.v1`, each with its session. */
export class LiveConnections {
  readonly #live = new Map<Socket, Live>();
  readonly #options: LiveOptions;
  readonly #timer: NodeJS.Timeout;

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#progress(), progressMilliseconds);
    this.#timer.unref();
  }

  open(socket: Socket): void {
    const { connection } = socket.getUserData();
    let isOpen = true;
    let waiters: (() => void)[] = [];
    const wake = (): void => {
      const woken = waiters;
      waiters = [];
      for (const each of woken) each();
    };
    const topics = new Topics((view, isOn) => {
      view.liveConnections += isOn ? 1 : -1;
      if (!isOpen) return;
      if (isOn) socket.subscribe(view.id);
      else socket.unsubscribe(view.id);
    });
    const { end, fullBytes, verifyToken, identified } = this.#options;
    const channel = {
      send: (text: string): void => {
        if (isOpen) socket.send(text, false, false);
      },
      together: (work: () => void): void => {
        if (isOpen) socket.cork(work);
      },
      isFull: (): boolean => isOpen && socket.getBufferedAmount() > fullBytes,
      drained: (): Promise<void> =>
        new Promise((resolve) => {
          if (isOpen) waiters.push(resolve);
          else resolve();
        }),
      beginReplay: (view: View): void => topics.change(view, { replays: 1 }),
      endReplay: (view: View, isComplete: boolean): void => {
        topics.change(view, { replays: -1 });
        // Others followed the replay: what it did not come to send, they have missed.
        if (!isComplete && isOpen && topics.isWanted(view)) session.reset(new Set([view]), "too-far-behind");
      },
      attach: (view: View): void => topics.change(view, { subscriptions: 1 }),
      detach: (view: View): void => topics.change(view, { subscriptions: -1 }),
      end: (code: number, reason: string): void => {
        if (isOpen) end(socket, code, reason);
      },
    };
    const authenticate = async (token: string) => {
      const { user, endsAt } = await verifyToken(token);
      if (user === null) throw new TypeError("a token without a user");
      clearTimeout(timer);
      if (isOpen) identified(socket, user, endsAt);
      return user;
    };
    const session = new Session({ ...this.#options, channel, authenticate }, connection.user);
    const timer = setTimeout(() => {
      if (!session.isAuthenticated) channel.end(closeCodes.authenticationTimeout, "no authenticate message in 10 s");
    }, authenticationMilliseconds);
    if (session.isAuthenticated) clearTimeout(timer);
    this.#live.set(socket, {
      session,
      drained: wake,
      close: () => {
        isOpen = false;
        clearTimeout(timer);
        session.close();
        wake();
      },
    });
  }

  receive(socket: Socket, message: ArrayBuffer): void {
    this.#live.get(socket)?.session.receive(Buffer.from(message).toString("utf8"));
  }

  drained(socket: Socket): void {
    this.#live.get(socket)?.drained();
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
