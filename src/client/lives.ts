import { ClientError } from "./error.js";
import { LiveCopy } from "./live.js";
import type { Asked } from "./query.js";
import type { Doc, LiveOptions } from "./types.js";
import type { Follower, Limits, Received, Welcome, Wire } from "./wire.js";

/** No gateway is configured to take less, in bytes. */
const smallMessage = 1_024;

/** What is live on a connection, and what of that is subscribed. */
export class Lives {
  readonly #send: (text: string) => boolean;
  readonly #awaitProgress: () => () => void;
  readonly #all = new Set<Follower>();
  /** By the id of their subscription. */
  readonly #joined = new Map<number, Follower>();
  #nextId = 1;
  #limits: Limits | undefined;

  /**
   * @param send - false where there is no open socket
   * @param awaitProgress - as {@link Wire} has it
   */
  constructor(send: (text: string) => boolean, awaitProgress: () => () => void) {
    this.#send = send;
    this.#awaitProgress = awaitProgress;
  }

  begin<Row extends Doc>(asked: Asked, options: LiveOptions<Row>): LiveCopy<Row> {
    let id: number | undefined;
    const wire: Wire = {
      join: (question) => {
        if (id !== undefined) this.#joined.delete(id);
        id = this.#join(live, question);
      },
      leave: () => {
        if (id !== undefined && this.#joined.delete(id)) this.#send(JSON.stringify({ type: "unsubscribe", id }));
      },
      forget: () => this.#all.delete(live),
      awaitProgress: this.#awaitProgress,
    };
    const live: LiveCopy<Row> = new LiveCopy(asked, wire, options);
    this.#all.add(live);
    live.join();
    return live;
  }

  /** There is a socket. */
  join(): void {
    for (const live of [...this.#all]) live.join();
  }

  welcome({ limits }: Welcome): void {
    this.#limits = limits;
    const joined = new Set(this.#joined.values());
    for (const live of [...this.#all]) if (!joined.has(live)) live.join();
  }

  receive(message: Exclude<Received, Welcome>): void {
    if (message.type === undefined) {
      for (const live of this.#all) live.change(message);
    } else if (message.type === "progress" || message.type === "pong") {
      for (const live of this.#all) live.progress(message.position);
    } else if ("id" in message) {
      const live = this.#joined.get(message.id);
      // Which ends the subscription.
      if (message.type === "error") this.#joined.delete(message.id);
      live?.receive(message);
    }
  }

  disconnected(): void {
    this.#joined.clear();
    for (const live of [...this.#all]) live.disconnected();
  }

  /** The next user is another one. */
  discard(): void {
    for (const live of [...this.#all]) live.discard();
  }

  /** @param error - undefined where it was wished for */
  end(error: ClientError | undefined): void {
    for (const live of [...this.#all]) live.end(error);
  }

  /** @returns the subscription's id: never one of before, for what still comes under that is about rows that nobody holds */
  #join(live: Follower, question: Record<string, unknown>): number | undefined {
    const id = this.#nextId++;
    const message = JSON.stringify({ type: "subscribe", id, ...question });
    const bytes = new TextEncoder().encode(message).length;
    if (this.#limits === undefined) {
      // The welcome says how much the gateway takes.
      if (bytes > smallMessage) return undefined;
    } else if (bytes > this.#limits.payloadKilobytes * 1_024) {
      const most = `${this.#limits.payloadKilobytes} KB, and this is ${bytes} bytes`;
      live.end(new ClientError("too-big", `the gateway takes questions of ${most}`, { status: 413 }));
      return undefined;
    }
    if (!this.#send(message)) return undefined;
    this.#joined.set(id, live);
    return id;
  }
}
