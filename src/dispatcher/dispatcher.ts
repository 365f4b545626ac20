import type { Document } from "mongodb";
import { type ResolvedRule, resolveRule } from "../auth/rules.js";
import type { HistorySettings, InterfaceSettings, User } from "../config/settings.js";
import { RequestError } from "../errors.js";
import type { Filter } from "../filter/parse.js";
import type { Logger } from "../log.js";
import type { Format, Operation, ResetReason } from "../message.js";
import type { Metrics } from "../metrics.js";
import { once, type Service } from "../service.js";
import type { Change, Reset, StreamEvent } from "../watcher/change.js";
import type { ReadPast } from "../watcher/past.js";
import type { Sink } from "../watcher/watcher.js";
import { History } from "./history.js";
import { createLingering } from "./lingering.js";
import type { ViewReader } from "./reader.js";
import { Replays } from "./replays.js";
import type { Representation } from "./representation.js";
import { representationOf } from "./shown.js";
import { checked, dataOf } from "./told.js";
import { createTraffic } from "./traffic.js";
import { MembershipUnknownError, type Outgoing, type View } from "./view.js";
import { Views } from "./views.js";

/** The last hop: what carries messages to connections. */
export interface Publisher {
  /**
   * Sends one text message to every connection that follows the topic, in this turn of the event loop.
   *
   * @param bytes - the message's length in UTF-8
   */
  publish(topic: string, message: string, bytes: number): void;
  /** Tells every connection that follows one of the views that what it holds is void. */
  reset(views: ReadonlySet<View>, reason: ResetReason): void;
}

export interface Dispatcher extends Service, Sink {
  /** Connects the last hop; until then nobody can be following a view. */
  attach(publisher: Publisher): void;
  /**
   * Makes a connection follow interfaces.
   *
   * @param names - the interfaces, or undefined for every one that the user may read
   * @param format - how values are written
   * @returns the views to follow
   * @throws RequestError `unknown-interface` for a name that the user can't read: whether it exists is not told
   */
  follow(names: readonly string[] | undefined, user: User | null, format?: Format): View[];
  /** Ends what `follow` began. */
  leave(views: readonly View[]): void;
  /**
   * Sends a message that is no change of the database to all plain connections that may read what it tells of.
   *
   * @param data - for insert and update the document, shown as the interface's representation; for delete the removed ids
   * @throws RequestError `unknown-interface`, `bad-operation` or `bad-data`
   */
  dispatch(interfaceName: string, operation: Operation, data: Document | readonly unknown[]): void;
  /** The newest events. */
  readonly history: History;
  /** Tells of a document that could not be represented, and is left out. */
  quarantine(error: unknown, view: View): void;
  /** Brings those who join or return up to date. */
  readonly replays: Replays;
  /** The place up to which everything has been dispatched, or undefined before the stream is open. */
  readonly head: string | undefined;
  /**
   * Holds on to the view of an interface, filter and fields, made where nobody else has it.
   *
   * @returns the view; `release` lets it go
   */
  hold(settings: InterfaceSettings, filter: Filter | undefined, representation: Representation): View;
  release(view: View): void;
  /**
   * Waits, where no images tell what who returns holds of the view, until the stream has come as far as what they may have seen.
   *
   * @returns false where it does not
   */
  hasReachedThePresent(view: View): Promise<boolean>;
  /** What of the interface the user may read: all, nothing, or what matches a filter. */
  readRule(settings: InterfaceSettings, user: User | null): ResolvedRule;
}

export interface DispatcherOptions {
  interfaces: ReadonlyMap<string, InterfaceSettings>;
  reader: ViewReader;
  history: HistorySettings;
  readPast: ReadPast;
  /** Bytes that may be published in one turn of the event loop before sockets get a chance to write. */
  bytesPerTurn: number;
  log: Logger;
  metrics: Metrics;
}

/** How long a batch may keep the event loop from others in one turn, in milliseconds, and after how many events that is looked at. */
const millisecondsPerTurn = 20;
const eventsPerLook = 16;

/** Decides which views each change touches, encodes it once for each, and publishes it. */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { interfaces, reader, metrics, log } = options;
  const stopping = new AbortController();
  const views = new Views({
    reader,
    head: () => head ?? "",
    log,
    signal: stopping.signal,
    ready: catchUp,
    overflowed: (view) => unknown.add(view),
  });
  const traffic = createTraffic(metrics, interfaces, views);
  /** Views with deletes that wait for what follows them. */
  const waiting = new Set<View>();
  const lingering = createLingering((view) => views.remove(view));
  let publisher: Publisher | undefined;
  let publishedThisTurn = 0;
  const history = new History(options.history);
  const replays = new Replays({
    history,
    readPast: options.readPast,
    limit: options.history.replayLimit,
    historyBytes: options.history.megabytes * 1_000_000,
    signal: stopping.signal,
    log,
  });
  let head: string | undefined;
  let isLost = false;
  /** Views of which it can't be told any more what they show. */
  const unknown = new Set<View>();

  /** The data path's second hop. Nothing is awaited here: all that a batch publishes leaves in as few turns as it can. */
  function dispatchBatch(events: readonly StreamEvent[], from: number): number {
    publishedThisTurn = 0;
    let index = from;
    const ends = performance.now() + millisecondsPerTurn;
    while (index < events.length && publishedThisTurn < options.bytesPerTurn) {
      // Many views may have to look at changes that none of them shows.
      if (index % eventsPerLook === 0 && index > from && performance.now() > ends) break;
      const event = events[index++] as StreamEvent;
      history.push(event);
      head = event.position;
      if (event.kind === "reset") reset(event);
      else change(event);
    }
    flush();
    return index;
  }

  function change(event: Change): void {
    traffic.countChange(event);
    try {
      for (const view of views.touchedBy(event)) {
        if (view.holders > 0) apply(view, event);
        else view.pass(event);
      }
    } catch (error) {
      quarantine(error, event);
    }
    voidUnknown();
    event.forget();
  }

  function apply(view: View, event: Change): void {
    try {
      const effect = view.effectOf(event);
      if (effect === undefined) return;
      if (effect.operation === "delete") waiting.add(view);
      send(view, view.outgoingOf(effect, event.position));
    } catch (error) {
      if (error instanceof MembershipUnknownError) {
        views.distrustImages(view.collection);
        unknown.add(view);
        return;
      }
      quarantine(error, event, view.interfaceName);
    }
  }

  /** One document that can't be decoded or represented must not end the stream of all others. */
  function quarantine(error: unknown, { position }: { position?: string }, name = "unknown"): void {
    metrics.quarantined.inc({ interface: name });
    log.error({ err: error, interface: name, position }, "document not represented");
  }

  function catchUp(view: View, pending: readonly Change[]): void {
    for (const event of pending) {
      if (view.isVoid) break;
      apply(view, event);
      event.forget();
      voidUnknown();
    }
    flush();
  }

  function flush(): void {
    for (const view of waiting) send(view, view.flush());
    waiting.clear();
  }

  function send(view: View, outgoing: readonly Outgoing[]): void {
    for (const { operation, data, position } of outgoing) {
      if (view.plainConnections > 0) {
        publish(view, view.plainTopic, view.plainMessage(operation, data), view.plainConnections);
      }
      if (view.liveConnections > 0) {
        publish(view, view.id, view.liveMessage(operation, data, position, view.lastPosition), view.liveConnections);
      }
      view.lastPosition = position;
    }
  }

  function publish(view: View, topic: string, message: string, connections: number): void {
    const bytes = Buffer.byteLength(message);
    publisher?.publish(topic, message, bytes);
    publishedThisTurn += bytes;
    traffic.countMessage(view, bytes, connections);
  }

  function reset(event: Reset): void {
    if (event.reason === "history-lost") isLost = true;
    const isMeant = (view: View): boolean => event.collections?.includes(view.collection) ?? true;
    voidViews(new Set([...views].filter(isMeant)), event.reason);
  }

  /** All together: each time that views are void, every connection is looked at. */
  function voidUnknown(): void {
    if (unknown.size === 0) return;
    const affected = new Set(unknown);
    unknown.clear();
    voidViews(affected, "membership-unknown");
  }

  /** Its connections begin again, with a view that is made anew. */
  function voidViews(affected: ReadonlySet<View>, reason: ResetReason): void {
    if (affected.size === 0) return;
    for (const view of affected) {
      view.end();
      waiting.delete(view);
      lingering.delete(view);
      views.remove(view);
    }
    metrics.resets.inc({ reason });
    const names = [...new Set([...affected].map((view) => view.interfaceName))];
    log.warn({ reason, interfaces: names, views: affected.size }, "interfaces reset");
    publisher?.reset(affected, reason);
  }

  /** Who is refused learns no more than that there is nothing; why, the log has. */
  function readRule(settings: InterfaceSettings, user: User | null): ResolvedRule {
    const rule = resolveRule(settings.read, user);
    if (rule === false)
      log.info({ interface: settings.name, rule: "read", user: user?.sub ?? null }, "read denied by a rule");
    return rule;
  }

  function shownTo(name: string, user: User | null): { settings: InterfaceSettings; rule: true | Filter } {
    const settings = interfaces.get(name);
    const rule = settings !== undefined && readRule(settings, user);
    if (settings === undefined || rule === false) throw unknownInterface(name);
    return { settings, rule };
  }

  function hold(view: View): View {
    if (view.holders++ === 0) metrics.views.inc();
    lingering.delete(view);
    return view;
  }

  function release(view: View): void {
    if (--view.holders > 0) return;
    metrics.views.dec();
    lingering.add(view);
  }

  return {
    name: "dispatcher",
    async start() {},
    stop: once(async () => {
      stopping.abort();
      lingering.stop();
    }),
    attach(to) {
      publisher = to;
    },
    dispatchBatch,
    advance(position, read) {
      if (history.start === undefined || isLost) history.begin(position);
      isLost = false;
      if (head === undefined || position > head) head = position;
      views.moved(read > head ? read : head);
    },
    readRule,
    follow(names, user, format = "json") {
      const readable = [...interfaces.values()].filter((settings) => resolveRule(settings.read, user) !== false);
      const wanted = new Set(names ?? readable.map((settings) => settings.name));
      // All of them, before there is a view that nobody would let go of.
      const shown = [...wanted].map((name) => shownTo(name, user));
      const followed = shown.map(({ settings, rule }) => {
        const representation = representationOf(settings, undefined, format);
        return views.of(settings, rule === true ? undefined : rule, representation, head ?? "");
      });
      for (const view of followed) hold(view).plainConnections += 1;
      return followed;
    },
    leave(left) {
      for (const view of left) {
        view.plainConnections -= 1;
        release(view);
      }
    },
    history,
    replays,
    quarantine: (error, view) => quarantine(error, {}, view.interfaceName),
    get head() {
      return head;
    },
    hold: (settings, filter, representation) => hold(views.of(settings, filter, representation, head ?? "")),
    release,
    hasReachedThePresent: (view) => views.hasReachedThePresent(view),
    dispatch(name, operation, data) {
      if (!interfaces.has(name)) throw unknownInterface(name);
      const told = checked(operation, data);
      for (const view of views) {
        if (view.interfaceName !== name || view.plainConnections === 0) continue;
        const data = dataOf(view, told);
        if (data !== undefined)
          publish(view, view.plainTopic, view.plainMessage(operation, data), view.plainConnections);
      }
    },
  };
}

export function unknownInterface(name: string): RequestError {
  return new RequestError(404, "unknown-interface", `there is no interface "${name}" that you may read`);
}
