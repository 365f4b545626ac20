import type { Dispatcher } from "../dispatcher/dispatcher.js";
import { Replay } from "../dispatcher/replay.js";
import type { Snapshots } from "../dispatcher/snapshot.js";
import type { View } from "../dispatcher/view.js";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";
import type { ResetReason } from "../message.js";
import { parsePosition } from "../position.js";
import { sleep } from "../retry.js";
import type { SubscriptionId } from "./protocol.js";

/** What a client that is ahead of this gateway may wait for it to catch up, in milliseconds. */
const aheadMilliseconds = 10_000;
/** Snapshots that are begun again, because the history went past them, before the client is told to come back later. */
const attempts = 5;

/** The connection, as far as a subscription needs it. */
export interface Channel {
  send(text: string): void;
  /** Whether so much is waiting for the client that more should wait here. */
  isFull(): boolean;
  /** Resolves when something has left, or the connection has closed. */
  drained(): Promise<void>;
  /**
   * A replay of the view begins on this connection. Its topic waits meanwhile, for newer messages between those of the
   * replay would look like a gap; other subscriptions of the view follow the replay, which has all that the topic has.
   */
  beginReplay(view: View): void;
  /** The replay has ended, for good or early. When no other is left, the topic goes on. */
  endReplay(view: View, isComplete: boolean): void;
  /** Joins the topic of a view, or one more time; `detach` undoes one. */
  attach(view: View): void;
  detach(view: View): void;
}

export interface SubscriptionOptions {
  readonly id: SubscriptionId;
  readonly view: View;
  readonly channel: Channel;
  readonly dispatcher: Dispatcher;
  readonly snapshots: Snapshots;
  readonly log: Logger;
  /** The error ends the subscription. */
  failed(error: RequestError): void;
}

export interface Beginning {
  readonly since?: string | undefined;
  /** The view that `since` belongs to. */
  readonly view?: string | undefined;
  readonly snapshot?: boolean | undefined;
}

/** One subscription of one connection: it joins its view without a gap, then the view's topic carries it. */
export class Subscription {
  readonly id: SubscriptionId;
  readonly view: View;
  /** True until `ready` and all that was missed have been sent. */
  isJoining = true;
  readonly #options: SubscriptionOptions;
  readonly #ending = new AbortController();
  #isAttached = false;
  #isReplaying = false;

  constructor(options: SubscriptionOptions) {
    this.#options = options;
    this.id = options.id;
    this.view = options.view;
  }

  /** Joins the view; `reset` is a reason that the client is told first. */
  async begin(beginning: Beginning, reset?: ResetReason): Promise<void> {
    try {
      if (reset !== undefined) this.#sendReset(reset);
      await this.view.prepared;
      if (this.#hasEnded) return;
      if (beginning.since !== undefined) await this.#resumeOrRead(beginning.since, beginning.view);
      else if (beginning.snapshot === false) this.#followFromNow();
      else await this.#readUntilJoined();
    } catch (error) {
      if (this.#hasEnded) return;
      this.#options.log.error({ err: error, interface: this.view.interfaceName }, "subscription failed");
      this.#options.failed(error instanceof RequestError ? error : unavailable(error));
    }
  }

  end(): void {
    this.#ending.abort();
    if (this.#isAttached) this.#options.channel.detach(this.view);
    this.#isAttached = false;
    this.#options.dispatcher.release(this.view);
  }

  get #hasEnded(): boolean {
    return this.#ending.signal.aborted || this.view.isVoid;
  }

  async #resumeOrRead(since: string, view: string | undefined): Promise<void> {
    const reason = await this.#resume(since, view);
    if (reason === undefined || this.#hasEnded) return;
    this.#sendReset(reason);
    await this.#readUntilJoined();
  }

  /** @returns why what the client missed can't be told, or undefined where it has been. */
  async #resume(since: string, view: string | undefined): Promise<ResetReason | undefined> {
    const { dispatcher } = this.#options;
    if (view !== undefined && view !== this.view.id) return "rule-changed";
    const position = parsePosition(since);
    if (position === undefined || !(await this.#reached(since))) return "unknown-position";
    if (position.tag !== parsePosition(dispatcher.head ?? "")?.tag) return "unknown-position";
    const replay = new Replay(this.view, since, dispatcher.history, { kind: "images" });
    replay.advance();
    if (replay.failure !== undefined) return replay.failure;
    return this.#follow(replay, true);
  }

  /** Another gateway may have been ahead of this one. */
  async #reached(position: string): Promise<boolean> {
    const deadline = performance.now() + aheadMilliseconds;
    while (position > (this.#options.dispatcher.head ?? "")) {
      const isLater = performance.now() > deadline || position.slice(24) !== this.#options.dispatcher.head?.slice(24);
      if (isLater || !(await sleep(20, this.#ending.signal))) return false;
    }
    return true;
  }

  #followFromNow(): void {
    this.#sendReady(this.#options.dispatcher.head ?? "", false);
    this.#attach();
  }

  async #readUntilJoined(): Promise<void> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const reason = await this.#read();
      if (reason === undefined || this.#hasEnded) return;
      this.#sendReset(reason);
    }
    throw new RequestError(503, "too-busy", "the view changes faster than its snapshot can be sent; try again later");
  }

  async #read(): Promise<ResetReason | undefined> {
    const { channel, snapshots } = this.#options;
    const { parts, replay } = await snapshots.take(this.view);
    const head = `{"type":"snapshot","id":${JSON.stringify(this.id)},"interface":${JSON.stringify(this.view.interfaceName)},"data":[`;
    for (const [index, part] of parts.entries()) {
      if (!(await this.#hasRoom())) return undefined;
      channel.send(`${head}${part}],"last":${index === parts.length - 1}}`);
    }
    return this.#follow(replay, false);
  }

  /**
   * Sends what the replay has, and joins the topic in the very turn of the event loop in which nothing of it is left: what is
   * dispatched after that goes to the topic.
   */
  async #follow(replay: Replay, recovered: boolean): Promise<ResetReason | undefined> {
    const { channel } = this.#options;
    if (!(await this.#hasRoom())) return undefined;
    channel.beginReplay(this.view);
    this.#isReplaying = true;
    try {
      return await this.#send(replay, recovered);
    } finally {
      if (this.#isReplaying) this.#endReplay(false);
    }
  }

  #endReplay(isComplete: boolean): void {
    this.#isReplaying = false;
    this.#options.channel.endReplay(this.view, isComplete);
  }

  async #send(replay: Replay, recovered: boolean): Promise<ResetReason | undefined> {
    const { channel } = this.#options;
    let sent = 0;
    this.#sendReady(replay.start, recovered);
    for (;;) {
      replay.advance();
      if (replay.failure !== undefined) return replay.failure;
      for (; sent < replay.frames.length && !channel.isFull(); sent++) channel.send(replay.frames[sent]?.text ?? "");
      if (sent === replay.frames.length) {
        this.#closeGap(replay.frames.at(-1)?.position ?? replay.start);
        this.#attach();
        this.#endReplay(true);
        return undefined;
      }
      if (!(await this.#hasRoom())) return undefined;
    }
  }

  /**
   * The topic may have carried a last change that was none for this client, such as the end of a document that its snapshot
   * did not have any more. Its next message follows that change, so the client is brought there by one that removes nothing.
   */
  #closeGap(position: string): void {
    const { lastPosition } = this.view;
    if (position < lastPosition)
      this.#options.channel.send(this.view.liveMessage("delete", "[]", lastPosition, position));
  }

  /** @returns false where the subscription has ended meanwhile. */
  async #hasRoom(): Promise<boolean> {
    while (this.#options.channel.isFull() && !this.#hasEnded) await this.#options.channel.drained();
    return !this.#hasEnded;
  }

  #attach(): void {
    this.#isAttached = true;
    this.isJoining = false;
    this.#options.channel.attach(this.view);
  }

  #sendReady(position: string, recovered: boolean): void {
    this.#options.channel.send(JSON.stringify({ type: "ready", id: this.id, view: this.view.id, position, recovered }));
  }

  #sendReset(reason: ResetReason): void {
    this.#options.channel.send(JSON.stringify({ type: "reset", id: this.id, view: this.view.id, reason }));
  }
}

function unavailable(error: unknown): RequestError {
  return new RequestError(
    503,
    "database-unavailable",
    "the snapshot could not be read; subscribe again",
    {},
    { cause: error },
  );
}
