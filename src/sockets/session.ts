import { STATUS_CODES } from "node:http";
import type { Settings, User } from "../config/settings.js";
import { unknownInterface } from "../dispatcher/dispatcher.js";
import { allowedPathsOf, representationOf } from "../dispatcher/shown.js";
import type { View } from "../dispatcher/view.js";
import { RequestError } from "../errors.js";
import { combineFilters, type Filter, parseFilter } from "../filter/parse.js";
import { closeCodes, type ResetReason } from "../message.js";
import type { Metrics } from "../metrics.js";
import type { Channel } from "./channel.js";
import { errorMessage, parseMessage, type SubscribeMessage, type SubscriptionId, textOf } from "./protocol.js";
import { type Beginning, type Subscriber, Subscription, type SubscriptionOptions } from "./subscription.js";
import { Subscriptions } from "./subscriptions.js";

/** The connection, as far as a session needs it. */
export interface SessionChannel extends Channel {
  /** Says whose the token is; the connection ends with the token. */
  authenticate(token: string): Promise<User>;
  end(code: number, reason: string): void;
}

/** What is the same for all sessions. */
export interface SessionOptions extends SubscriptionOptions {
  readonly settings: Settings;
  readonly metrics: Metrics;
}

/** A position before all others. */
const beginningOfTime = "0".repeat(32);

/** A connection with the subprotocol `tailgate.v1`, from its first message to its close. */
export class Session implements Subscriber {
  readonly channel: SessionChannel;
  readonly options: SessionOptions;
  /** Undefined until it is known who the client is; nothing is answered before that. */
  #user: User | null | undefined;
  readonly #subscriptions = new Subscriptions();
  /** Messages are handled one after another, also while a token is being verified; undefined when all have been. */
  #turn: Promise<void> | undefined;
  #isClosed = false;

  /** @param user - undefined where the client is yet to say who it is */
  constructor(channel: SessionChannel, options: SessionOptions, user: User | null | undefined) {
    this.channel = channel;
    this.options = options;
    if (user !== undefined) this.#welcome(user);
  }

  get user(): User | null | undefined {
    return this.#user;
  }

  get isAuthenticated(): boolean {
    return this.#user !== undefined;
  }

  receive(text: string): void {
    const turn = (this.#turn ?? Promise.resolve()).then(() => (this.#isClosed ? undefined : this.#handle(text)));
    this.#turn = turn;
    void turn.then(() => {
      if (this.#turn === turn) this.#turn = undefined;
    });
  }

  /** The views are void: what the client holds of them is, too. */
  reset(views: ReadonlySet<View>, reason: ResetReason): void {
    for (const subscription of this.#subscriptions) {
      if (views.has(subscription.view)) this.#beginAgain(subscription, reason);
    }
  }

  /** Begins those anew that followed the view and may have missed something of it. Who is still joining gets all by itself. */
  restart(view: View): void {
    for (const subscription of this.#subscriptions) {
      if (subscription.view === view && !subscription.isJoining) this.#beginAgain(subscription, "too-far-behind");
    }
  }

  /** Passes on how far all views are complete, unless one is still joining. */
  progress(text: string): void {
    if (this.#subscriptions.size > 0 && !this.#isJoining) this.channel.send(text);
  }

  failed(subscription: Subscription, error: RequestError): void {
    this.#end(subscription);
    this.#sendError(subscription.id, error);
  }

  close(): void {
    this.#isClosed = true;
    for (const subscription of this.#subscriptions) this.#end(subscription);
  }

  async #handle(text: string): Promise<void> {
    const { channel, options } = this;
    try {
      const message = parseMessage(text);
      if (message.type === "authenticate") return await this.#authenticate(message.token);
      if (this.#user === undefined)
        return channel.end(options.settings.auth.closeCode, "the first message has to be authenticate");
      if (message.type === "subscribe") this.#subscribe(message);
      else if (message.type === "unsubscribe") this.#unsubscribe(message.id);
      else this.#pong();
    } catch (error) {
      if (this.#isClosed) return;
      if (!(error instanceof RequestError)) {
        options.log.error({ err: error }, "message failed");
        return channel.end(closeCodes.internal, "internal error");
      }
      const { id } = error.extensions as { id?: SubscriptionId };
      const isAnswerable = id !== undefined && this.#user !== undefined;
      if (error.code === "bad-message" && !isAnswerable) return channel.end(closeCodes.malformed, error.message);
      this.#sendError(id ?? null, error);
    }
  }

  async #authenticate(token: string): Promise<void> {
    const { channel } = this;
    const { closeCode } = this.options.settings.auth;
    let user: User;
    try {
      user = await channel.authenticate(token);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      return channel.end(error.status === 401 ? closeCode : closeCodes.internal, error.message);
    }
    if (this.#isClosed) return;
    if (this.#user != null && this.#user.sub !== user.sub)
      return channel.end(closeCodes.forbidden, "the token is another user's");
    this.#welcome(user);
    // Other claims may mean another rule, and so another view.
    for (const subscription of this.#subscriptions)
      this.#again(subscription, (asked) => this.#move(subscription, asked));
  }

  #move(subscription: Subscription, asked: SubscribeMessage): void {
    const view = this.#hold(asked);
    const isSame = view === subscription.view;
    this.options.dispatcher.release(view);
    if (!isSame) this.#begin(asked, {}, "rule-changed");
  }

  #beginAgain(subscription: Subscription, reason: ResetReason): void {
    this.#again(subscription, (asked) => this.#begin(asked, {}, reason));
  }

  /** Does something with what the subscription was asked with; an error, also one of an application's rule, ends it alone. */
  #again(subscription: Subscription, work: (asked: SubscribeMessage) => void): void {
    try {
      const message = parseMessage(subscription.text);
      if (message.type === "subscribe") work(message);
    } catch (error) {
      if (!(error instanceof RequestError)) this.options.log.error({ err: error }, "subscription failed");
      this.failed(subscription, error instanceof RequestError ? error : internalError(error));
    }
  }

  #subscribe(message: SubscribeMessage): void {
    const { subscriptionsPerConnection } = this.options.settings.limits;
    const { id } = message;
    try {
      if (this.#subscriptions.get(id) !== undefined)
        throw new RequestError(409, "duplicate-id", `there is a subscription ${JSON.stringify(id)} already`);
      if (this.#subscriptions.size >= subscriptionsPerConnection) {
        const detail = `at most ${subscriptionsPerConnection} subscriptions a connection`;
        throw new RequestError(429, "too-many-subscriptions", detail);
      }
      this.#begin(message, message);
    } catch (error) {
      if (!(error instanceof RequestError)) this.options.log.error({ err: error }, "subscription failed");
      this.#sendError(id, error instanceof RequestError ? error : internalError(error));
    }
  }

  #begin(asked: SubscribeMessage, beginning: Beginning, reset?: ResetReason): void {
    const view = this.#hold(asked);
    const before = this.#subscriptions.get(asked.id);
    if (before !== undefined) this.#end(before);
    const subscription = new Subscription(this, asked.id, view, textOf(asked));
    this.#subscriptions.add(subscription);
    this.options.metrics.subscriptions.inc();
    void subscription.begin(beginning, reset);
  }

  /** @throws RequestError for what can't be had, `unknown-interface` where the rule hides all of it */
  #hold({ interface: name, filter, fields, format }: SubscribeMessage): View {
    const { dispatcher } = this.options;
    const settings = this.options.settings.interfaces.get(name);
    // Before anything else is said of the interface: what the user may not read is not there.
    const rule = settings !== undefined && dispatcher.readRule(settings, this.#user ?? null);
    if (settings === undefined || rule === false) throw unknownInterface(name);
    const asked = filter === undefined ? undefined : parseFilter(filter, allowing(allowedPathsOf(settings)));
    const parts: Filter[] = [];
    if (asked !== undefined && asked.paths.length > 0) parts.push(asked);
    if (rule !== true) parts.push(rule);
    const representation = representationOf(settings, fields, format);
    return dispatcher.hold(settings, parts.length === 0 ? undefined : combineFilters(...parts), representation);
  }

  #unsubscribe(id: SubscriptionId): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) {
      const detail = `there is no subscription ${JSON.stringify(id)}`;
      this.#sendError(id, new RequestError(404, "unknown-subscription", detail));
      return;
    }
    this.#end(subscription);
    this.channel.send(JSON.stringify({ type: "unsubscribed", id }));
  }

  /** Then not all views are complete: also where one is replayed for the others after the one that asked for it has ended. */
  get #isJoining(): boolean {
    if (this.channel.isReplaying) return true;
    for (const subscription of this.#subscriptions) if (subscription.isJoining) return true;
    return false;
  }

  #pong(): void {
    // While a view joins, nothing is known to be complete; a client never lowers its position.
    const position = this.#isJoining ? beginningOfTime : (this.options.dispatcher.head ?? beginningOfTime);
    this.channel.send(JSON.stringify({ type: "pong", position }));
  }

  #end(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    this.options.metrics.subscriptions.dec();
    subscription.end();
  }

  #welcome(user: User | null): void {
    this.#user = user;
    const { limits } = this.options.settings;
    this.channel.send(JSON.stringify({ type: "welcome", user: user === null ? null : { sub: user.sub }, limits }));
  }

  #sendError(id: SubscriptionId | null, error: RequestError): void {
    if (!this.#isClosed) this.channel.send(errorMessage(id, error, STATUS_CODES[error.status] ?? "Error"));
  }
}

function internalError(cause: unknown): RequestError {
  return new RequestError(500, "internal", "the gateway failed; its log says why", {}, { cause });
}

function allowing(allowedPaths: readonly string[] | undefined): { allowedPaths?: readonly string[] } {
  return allowedPaths === undefined ? {} : { allowedPaths };
}
