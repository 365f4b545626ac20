import { STATUS_CODES } from "node:http";
import type { InterfaceSettings, Settings, User } from "../config/settings.js";
import { type Dispatcher, unknownInterface } from "../dispatcher/dispatcher.js";
import type { Representation } from "../dispatcher/representation.js";
import { allowedPathsOf, representationOf } from "../dispatcher/shown.js";
import type { Snapshots } from "../dispatcher/snapshot.js";
import type { View } from "../dispatcher/view.js";
import { RequestError } from "../errors.js";
import { combineFilters, type Filter, parseFilter } from "../filter/parse.js";
import type { Logger } from "../log.js";
import { closeCodes, type ResetReason } from "../message.js";
import type { Metrics } from "../metrics.js";
import { errorMessage, parseMessage, type SubscribeMessage, type SubscriptionId } from "./protocol.js";
import { type Beginning, type Channel, Subscription } from "./subscription.js";

/** The connection, as far as a session needs it. */
export interface SessionChannel extends Channel {
  end(code: number, reason: string): void;
}

export interface SessionOptions {
  readonly channel: SessionChannel;
  readonly settings: Settings;
  readonly dispatcher: Dispatcher;
  readonly snapshots: Snapshots;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Says whose the token is; the connection ends with the token. */
  authenticate(token: string): Promise<User>;
}

/** What a client asked for, so that it can be asked for again when the view behind it has changed. */
interface Request {
  readonly settings: InterfaceSettings;
  readonly filter: Filter | undefined;
  readonly representation: Representation;
}

/** A position before all others. */
const beginningOfTime = "0".repeat(32);

/** A connection with the subprotocol `tailgate.v1`, from its first message to its close. */
export class Session {
  /** Undefined until it is known who the client is; nothing is answered before that. */
  #user: User | null | undefined;
  readonly #options: SessionOptions;
  readonly #subscriptions = new Map<SubscriptionId, { request: Request; subscription: Subscription }>();
  /** Messages are handled one after another, also while a token is being verified. */
  #turn: Promise<void> = Promise.resolve();
  #isClosed = false;

  /** @param user - undefined where the client is yet to say who it is */
  constructor(options: SessionOptions, user: User | null | undefined) {
    this.#options = options;
    if (user !== undefined) this.#welcome(user);
  }

  get user(): User | null | undefined {
    return this.#user;
  }

  get isAuthenticated(): boolean {
    return this.#user !== undefined;
  }

  receive(text: string): void {
    this.#turn = this.#turn.then(() => (this.#isClosed ? undefined : this.#handle(text)));
  }

  /** The views are void: what the client holds of them is, too. */
  reset(views: ReadonlySet<View>, reason: ResetReason): void {
    for (const [id, { request, subscription }] of [...this.#subscriptions]) {
      if (views.has(subscription.view)) this.#begin(id, request, {}, reason);
    }
  }

  /** Passes on how far all views are complete, unless one is still joining. */
  progress(text: string): void {
    if (this.#subscriptions.size > 0 && !this.#isJoining) this.#options.channel.send(text);
  }

  close(): void {
    this.#isClosed = true;
    for (const id of [...this.#subscriptions.keys()]) this.#end(id);
  }

  async #handle(text: string): Promise<void> {
    const { channel, log } = this.#options;
    try {
      const message = parseMessage(text);
      if (message.type === "authenticate") return await this.#authenticate(message.token);
      if (this.#user === undefined)
        return channel.end(this.#options.settings.auth.closeCode, "the first message has to be authenticate");
      if (message.type === "subscribe") this.#subscribe(message);
      else if (message.type === "unsubscribe") this.#unsubscribe(message.id);
      else this.#pong();
    } catch (error) {
      if (this.#isClosed) return;
      if (!(error instanceof RequestError)) {
        log.error({ err: error }, "message failed");
        return channel.end(closeCodes.internal, "internal error");
      }
      const { id } = error.extensions as { id?: SubscriptionId };
      const isAnswerable = id !== undefined && this.#user !== undefined;
      if (error.code === "bad-message" && !isAnswerable) return channel.end(closeCodes.malformed, error.message);
      this.#sendError(id ?? null, error);
    }
  }

  async #authenticate(token: string): Promise<void> {
    const { channel, settings } = this.#options;
    let user: User;
    try {
      user = await this.#options.authenticate(token);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      return channel.end(error.status === 401 ? settings.auth.closeCode : closeCodes.internal, error.message);
    }
    if (this.#isClosed) return;
    if (this.#user != null && this.#user.sub !== user.sub)
      return channel.end(closeCodes.forbidden, "the token is another user's");
    this.#welcome(user);
    // Other claims may mean another rule, and so another view.
    for (const [id, { request, subscription }] of [...this.#subscriptions]) this.#move(id, request, subscription);
  }

  #move(id: SubscriptionId, request: Request, subscription: Subscription): void {
    const { dispatcher } = this.#options;
    try {
      const view = this.#hold(request);
      const isSame = view === subscription.view;
      dispatcher.release(view);
      if (!isSame) this.#begin(id, request, {}, "rule-changed");
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.#end(id);
      this.#sendError(id, error);
    }
  }

  #subscribe(message: SubscribeMessage): void {
    const { limits, interfaces } = this.#options.settings;
    const { id } = message;
    try {
      if (this.#subscriptions.has(id))
        throw new RequestError(409, "duplicate-id", `there is a subscription ${JSON.stringify(id)} already`);
      if (this.#subscriptions.size >= limits.subscriptionsPerConnection) {
        throw new RequestError(
          429,
          "too-many-subscriptions",
          `at most ${limits.subscriptionsPerConnection} subscriptions a connection`,
        );
      }
      const settings = interfaces.get(message.interface);
      if (settings === undefined) throw unknownInterface(message.interface);
      // Before anything else is said of the interface: what the user may not read is not there.
      if (this.#options.dispatcher.readRule(settings, this.#user ?? null) === false)
        throw unknownInterface(message.interface);
      const filter =
        message.filter === undefined ? undefined : parseFilter(message.filter, allowing(allowedPathsOf(settings)));
      const isAll = filter === undefined || filter.paths.length === 0;
      const representation = representationOf(settings, message.fields, message.format);
      this.#begin(id, { settings, filter: isAll ? undefined : filter, representation }, message);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.#sendError(id, error);
    }
  }

  #begin(id: SubscriptionId, request: Request, beginning: Beginning, reset?: ResetReason): void {
    const { channel, dispatcher, snapshots, log, metrics } = this.#options;
    const view = this.#hold(request);
    if (this.#subscriptions.has(id)) this.#end(id);
    const failed = (error: RequestError): void => {
      this.#end(id);
      this.#sendError(id, error);
    };
    const subscription = new Subscription({ id, view, channel, dispatcher, snapshots, log, failed });
    this.#subscriptions.set(id, { request, subscription });
    metrics.subscriptions.inc();
    void subscription.begin(beginning, reset);
  }

  /** @throws RequestError `unknown-interface` where the rule hides all of it */
  #hold({ settings, filter, representation }: Request): View {
    const { dispatcher } = this.#options;
    const rule = dispatcher.readRule(settings, this.#user ?? null);
    if (rule === false) throw unknownInterface(settings.name);
    const parts = [filter, rule === true ? undefined : rule].filter((part) => part !== undefined);
    return dispatcher.hold(settings, parts.length === 0 ? undefined : combineFilters(...parts), representation);
  }

  #unsubscribe(id: SubscriptionId): void {
    if (!this.#subscriptions.has(id)) {
      const detail = `there is no subscription ${JSON.stringify(id)}`;
      this.#sendError(id, new RequestError(404, "unknown-subscription", detail));
      return;
    }
    this.#end(id);
    this.#options.channel.send(JSON.stringify({ type: "unsubscribed", id }));
  }

  get #isJoining(): boolean {
    return [...this.#subscriptions.values()].some(({ subscription }) => subscription.isJoining);
  }

  #pong(): void {
    const { channel, dispatcher } = this.#options;
    // While a view joins, nothing is known to be complete; a client never lowers its position.
    const position = this.#isJoining ? beginningOfTime : (dispatcher.head ?? beginningOfTime);
    channel.send(JSON.stringify({ type: "pong", position }));
  }

  #end(id: SubscriptionId): void {
    const found = this.#subscriptions.get(id);
    if (found === undefined) return;
    this.#subscriptions.delete(id);
    this.#options.metrics.subscriptions.dec();
    found.subscription.end();
  }

  #welcome(user: User | null): void {
    this.#user = user;
    const { limits } = this.#options.settings;
    this.#options.channel.send(
      JSON.stringify({ type: "welcome", user: user === null ? null : { sub: user.sub }, limits }),
    );
  }

  #sendError(id: SubscriptionId | null, error: RequestError): void {
    if (!this.#isClosed) this.#options.channel.send(errorMessage(id, error, STATUS_CODES[error.status] ?? "Error"));
  }
}

function allowing(allowedPaths: readonly string[] | undefined): { allowedPaths?: readonly string[] } {
  return allowedPaths === undefined ? {} : { allowedPaths };
}
