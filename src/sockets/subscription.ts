import type { Dispatcher } from "../dispatcher/dispatcher.js";
import { isTooOld } from "../dispatcher/reader.js";
import type { Frame, Replay } from "../dispatcher/replay.js";
import { SlowReaderError, type Snapshot, type Snapshots } from "../dispatcher/snapshot.js";
import type { View } from "../dispatcher/view.js";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";
import type { ResetReason } from "../message.js";
import { parsePosition, timeOfPosition } from "../position.js";
import { sleep } from "../retry.js";
import type { Channel } from "./channel.js";
import { readInTurn, replayInTurn } from "./in-turn.js";
import type { SubscriptionId } from "./protocol.js";

/** What a client that is ahead of this gateway may wait for it to catch up, in milliseconds. */
const aheadMilliseconds = 10_000;
/** Snapshots that are begun again, because the history went past them, before the client is told to come back later. */
const attempts = 5;

/** What leaves together, in characters of messages: one write to the socket takes it, and then it is seen whether it was too much. */
const charactersTogether = 64_000;

/** What all subscriptions need. */
export interface SubscriptionOptions {
  readonly dispatcher: Dispatcher;
  readonly snapshots: Snapshots;
  readonly log: Logger;
}

/** Whose the subscription is. */
export interface Subscriber {
  readonly channel: Channel;
  readonly options: SubscriptionOptions;
  /** The error ends the subscription. */
  failed(subscription: Subscription, error: RequestError): void;
}

export interface Beginning {
  readonly since?: string | undefined;
  /** The view that `since` belongs to. */
  readonly view?: string | undefined;
  readonly snapshot?: boolean | undefined;
}

/**
 * One subscription of one connection: it joins its view without a gap, then the view's topic carries it. From then on it has
 * nothing to do, so that it keeps no more than would be needed to begin again.
 */
export class Subscription {
  readonly id: SubscriptionId;
  readonly view: View;
  /** The message that asked for it, from `textOf`. */
  readonly text: string;
  readonly #subscriber: Subscriber;
  /** Live when `ready` and all that was missed have been sent, and the topic has been joined. */
  #state: "joining" | "live" | "ended" = "joining";

  constructor(subscriber: Subscriber, id: SubscriptionId, view: View, text: string) {
    this.#subscriber = subscriber;
    this.id = id;
    this.view = view;
    this.text = text;
  }

  get isJoining(): boolean {
    return this.#state === "joining";
  }

  /** Joins the view; `reset` is a reason that the client is told first. */
  async begin(beginning: Beginning, reset?: ResetReason): Promise<void> {
    try {
      if (reset !== undefined) this.#sendReset(reset);
      await this.view.prepared;
      if (this.#hasEnded) return;
      if (!this.view.isPrepared) throw unavailable();
      if (beginning.since !== undefined) await this.#resumeOrRead(beginning.since, beginning.view);
      else if (beginning.snapshot === false) this.#followFromNow();
      else await this.#readUntilJoined();
    } catch (error) {
      if (this.#hasEnded) return;
      this.#options.log.error({ err: error, interface: this.view.interfaceName }, "subscription failed");
      this.#subscriber.failed(this, error instanceof RequestError ? error : unavailable(error));
    }
  }

  end(): void {
    if (this.#state === "live") this.#channel.detach(this.view);
    this.#state = "ended";
    this.#options.dispatcher.release(this.view);
  }

  get #channel(): Channel {
    return this.#subscriber.channel;
  }

  get #options(): SubscriptionOptions {
    return this.#subscriber.options;
  }

  get #hasEnded(): boolean {
    return this.#state === "ended" || this.view.isVoid;
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
    if (!(await dispatcher.hasReachedThePresent(this.view))) return "membership-unknown";
    const { replays } = dispatcher;
    let replay = replays.of(this.view, since);
    try {
      await replays.complete(replay);
      if (replay.failure !== undefined && replay.start !== since) {
        // It may have failed for who was away for longer.
        replay.release();
        replay = replays.of(this.view, since, true);
        await replays.complete(replay);
      }
      if (this.#hasEnded) return undefined;
      return replay.failure ?? (await this.#follow(replay, since, true));
    } finally {
      replay.release();
    }
  }

  /** Another gateway may have been ahead of this one. */
  async #reached(position: string): Promise<boolean> {
    const deadline = performance.now() + aheadMilliseconds;
    // Only the time: an exact snapshot stands after all that has its time, and those who were there are passed over.
    while (timeOfPosition(position) > timeOfPosition(this.#options.dispatcher.head ?? "")) {
      const isLater = performance.now() > deadline || position.slice(24) !== this.#options.dispatcher.head?.slice(24);
      if (isLater || this.#hasEnded) return false;
      await sleep(20);
    }
    return true;
  }

  #followFromNow(): void {
    const { head = "" } = this.#options.dispatcher;
    this.#sendReady(head, false);
    this.view.beginAt(head);
    this.#attach();
  }

  async #readUntilJoined(): Promise<void> {
    const { channel } = this.#subscriber;
    const how = { isAlone: false, asTheyCome: false };
    for (let attempt = 0; attempt < attempts; attempt++) {
      const reason = await readInTurn(channel, async () => ((await this.#hasRoom()) ? this.#readOnce(how) : undefined));
      if (reason === undefined || this.#hasEnded) return;
      this.#sendReset(reason);
    }
    throw new RequestError(503, "too-busy", "the view changes faster than its snapshot can be sent; try again later");
  }

  /** @param how - says how to read the next time, where this one fails */
  async #readOnce(how: { isAlone: boolean; asTheyCome: boolean }): Promise<ResetReason | undefined> {
    const snapshot = this.#options.snapshots.take(this.view, how);
    try {
      return await this.#read(snapshot);
    } catch (error) {
      if (error instanceof SlowReaderError) how.isAlone = true;
      else if (isTooOld(error)) how.asTheyCome = true;
      else throw error;
      return "too-far-behind";
    } finally {
      snapshot.close();
    }
  }

  async #read(snapshot: Snapshot): Promise<ResetReason | undefined> {
    const { channel } = this.#subscriber;
    const { dispatcher } = this.#options;
    const head = `{"type":"snapshot","id":${JSON.stringify(this.id)},"interface":${JSON.stringify(this.view.interfaceName)},"data":[`;
    for (let isLast = false; !isLast; ) {
      const part = await snapshot.next();
      if (part === undefined || !(await this.#hasRoom())) return undefined;
      isLast = part.isLast;
      channel.send(`${head}${part.rows}],"last":${isLast}}`);
    }
    const { replay } = snapshot;
    await dispatcher.replays.complete(replay);
    if (this.#hasEnded) return undefined;
    return replay.failure ?? this.#follow(replay, replay.start, false);
  }

  async #follow(replay: Replay, from: string, recovered: boolean): Promise<ResetReason | undefined> {
    if (!(await this.#hasRoom())) return undefined;
    return replayInTurn(this.#channel, async () => {
      if (this.#hasEnded) return undefined;
      const { lastPosition } = this.view;
      this.#bringOthersTo(from);
      this.#channel.beginReplay(this.view);
      const end = (hasAll: boolean): void =>
        this.#channel.endReplay(this.view, hasAll || this.view.lastPosition === lastPosition);
      let outcome: ResetReason | "joined" | undefined;
      try {
        outcome = await this.#send(replay, from, recovered, end);
      } finally {
        if (outcome !== "joined") end(false);
      }
      return outcome === "joined" ? undefined : outcome;
    });
  }

  /**
   * Sends what the replay has, and joins the topic in the very turn of the event loop in which nothing of it is left: what is
   * dispatched after that goes to the topic. Once begun it goes on for the others who follow it, even if it has ended itself.
   *
   * @param end - the replay has ended, with all that others need or without
   */
  async #send(
    replay: Replay,
    from: string,
    recovered: boolean,
    end: (hasAll: boolean) => void,
  ): Promise<ResetReason | "joined" | undefined> {
    const { dispatcher } = this.#options;
    const first = replay.indexAfter(from);
    let next = first;
    this.#sendReady(from, recovered);
    for (;;) {
      const hasAll = dispatcher.replays.advance(replay);
      if (replay.failure !== undefined) return replay.failure;
      next = this.#sendFrames(replay.frames, next, next === first ? from : undefined);
      if (next === replay.frames.length && hasAll) {
        const position = next === first ? from : (replay.frames[next - 1]?.position ?? from);
        // An exact snapshot stands after all that has its time, of which there may be more to come.
        const { head = position } = dispatcher;
        this.view.beginAt(position < head ? position : head);
        this.#closeGap(position);
        // The others first: this one has all.
        end(!replay.isOfRowsAlone);
        if (!this.#hasEnded) this.#attach();
        return "joined";
      }
      while (this.#channel.isFull() && !this.#isOver) await this.#channel.drained();
      if (!hasAll) await dispatcher.replays.complete(replay);
      if (this.#isOver) return undefined;
    }
  }

  /** Neither this nor any other subscription of the connection needs the replay any more. */
  get #isOver(): boolean {
    return this.#hasEnded && (this.view.isVoid || !this.#channel.isFollowed(this.view));
  }

  /**
   * The first message of the replay follows `from`, and those who follow the topic may stand before that: nothing of the view
   * has changed since, so they are brought there by a message that removes nothing.
   */
  #bringOthersTo(from: string): void {
    const { lastPosition } = this.view;
    // What comes before a place that this gateway has not reached yet may still be a change.
    const isReached = from <= (this.#options.dispatcher.head ?? "");
    if (!isReached || lastPosition >= from || !this.#channel.isFollowed(this.view)) return;
    this.#channel.send(this.view.liveMessage("delete", "[]", from, lastPosition));
  }

  /**
   * @param from - where the client stands, if nothing has been sent to it yet: the first frame of a replay that others share
   *   follows an earlier one, and is told to follow this
   * @returns the index of the first frame that there was no room for
   */
  #sendFrames(frames: readonly Frame[], next: number, from: string | undefined): number {
    const { channel } = this.#subscriber;
    let index = next;
    while (index < frames.length && !channel.isFull()) {
      channel.together(() => {
        for (let sent = 0; index < frames.length && sent < charactersTogether; index++) {
          const text = frames[index]?.text ?? "";
          channel.send(index === next && from !== undefined ? this.view.following(text, from) : text);
          sent += text.length;
        }
      });
    }
    return index;
  }

  /**
   * The topic may have carried a last change that was none for this client, such as the end of a document that its snapshot
   * did not have any more. Its next message follows that change, so the client is brought there by one that removes nothing.
   */
  #closeGap(position: string): void {
    const { lastPosition } = this.view;
    if (position < lastPosition) this.#channel.send(this.view.liveMessage("delete", "[]", lastPosition, position));
  }

  /** @returns false where the subscription has ended meanwhile. */
  async #hasRoom(): Promise<boolean> {
    while (this.#channel.isFull() && !this.#hasEnded) await this.#channel.drained();
    return !this.#hasEnded;
  }

  #attach(): void {
    this.#state = "live";
    this.#channel.attach(this.view);
  }

  #sendReady(position: string, recovered: boolean): void {
    this.#channel.send(JSON.stringify({ type: "ready", id: this.id, view: this.view.id, position, recovered }));
  }

  #sendReset(reason: ResetReason): void {
    this.#channel.send(JSON.stringify({ type: "reset", id: this.id, view: this.view.id, reason }));
  }
}

function unavailable(error?: unknown): RequestError {
  return new RequestError(
    503,
    "database-unavailable",
    "the snapshot could not be read; subscribe again",
    {},
    { cause: error },
  );
}
