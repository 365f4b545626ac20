import type { Document } from "mongodb";
import type { InterfaceSettings, User } from "../config/settings.js";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";
import { type Operation, operations, type ResetReason } from "../message.js";
import { counterOf, type Metrics } from "../metrics.js";
import { once, type Service } from "../service.js";
import type { Change, Reset, StreamEvent } from "../watcher/change.js";
import type { Sink } from "../watcher/watcher.js";
import { encodeValue } from "./json.js";
import { createRepresentation } from "./representation.js";
import { View } from "./view.js";

/** The last hop: what carries messages to connections. */
export interface Publisher {
  /** Sends one text message to every connection that follows the topic, in this turn of the event loop. */
  publish(topic: string, message: string): void;
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
   * @returns the views to follow
   * @throws RequestError `unknown-interface` for a name that the user can't read: whether it exists is not told
   */
  follow(names: readonly string[] | undefined, user: User | null): View[];
  /** Ends what `follow` began. */
  leave(views: readonly View[]): void;
  /**
   * Sends a message that is no change of the database to all plain connections that may read the interface.
   *
   * @param data - for insert and update the document, shown as the interface's representation; for delete the removed ids
   * @throws RequestError `unknown-interface`, `bad-operation` or `bad-data`
   */
  dispatch(interfaceName: string, operation: Operation, data: Document | readonly unknown[]): void;
  /** Whether the user may read the interface. */
  mayRead(settings: InterfaceSettings, user: User | null): boolean;
}

export interface DispatcherOptions {
  interfaces: ReadonlyMap<string, InterfaceSettings>;
  /** Bytes that may be published in one turn of the event loop before sockets get a chance to write. */
  bytesPerTurn: number;
  log: Logger;
  metrics: Metrics;
}

/** Decides which views each change touches, encodes it once for each, and publishes it. */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { interfaces, metrics, log } = options;
  const views = new Map<string, View>();
  const byCollection = new Map<string, View[]>();
  for (const settings of interfaces.values()) {
    const view = new View(settings.name, `plain/${settings.name}`, createRepresentation(settings));
    views.set(settings.name, view);
    const others = byCollection.get(settings.collection);
    if (others === undefined) byCollection.set(settings.collection, [view]);
    else others.push(view);
  }
  countTraffic(metrics, views);
  /** Views with deletes that wait for what follows them. */
  const waiting = new Set<View>();
  let publisher: Publisher | undefined;
  let publishedThisTurn = 0;

  /** The data path's second hop. Nothing is awaited here: all that a batch publishes leaves in as few turns as it can. */
  function dispatchBatch(events: readonly StreamEvent[], from: number): number {
    publishedThisTurn = 0;
    let index = from;
    while (index < events.length && publishedThisTurn < options.bytesPerTurn) {
      const event = events[index++] as StreamEvent;
      if (event.kind === "reset") reset(event);
      else change(event);
    }
    for (const view of waiting) send(view, view.flush());
    waiting.clear();
    return index;
  }

  function change(event: Change): void {
    for (const view of byCollection.get(event.collection) ?? []) {
      view.changes[event.operation] += 1;
      if (view.subscribers === 0) continue;
      try {
        const effect = view.effectOf(event);
        if (effect === undefined) continue;
        if (effect.operation === "delete") waiting.add(view);
        send(view, view.messagesOf(effect));
      } catch (error) {
        // One document that can't be represented must not end the stream of all others.
        metrics.quarantined.inc({ interface: view.interfaceName });
        log.error({ err: error, interface: view.interfaceName, position: event.position }, "document not represented");
      }
    }
  }

  function send(view: View, messages: readonly string[]): void {
    if (view.subscribers === 0) return;
    for (const message of messages) {
      const bytes = Buffer.byteLength(message);
      publisher?.publish(view.topic, message);
      publishedThisTurn += bytes;
      view.messages += view.subscribers;
      view.bytes += bytes * view.subscribers;
    }
  }

  function reset(event: Reset): void {
    const affected = new Set<View>();
    for (const [collection, found] of byCollection) {
      if (event.collections !== undefined && !event.collections.includes(collection)) continue;
      for (const view of found) affected.add(view);
    }
    if (affected.size === 0) return;
    for (const view of affected) view.reset();
    metrics.resets.inc({ reason: event.reason });
    log.warn({ reason: event.reason, interfaces: [...affected].map((view) => view.interfaceName) }, "interfaces reset");
    publisher?.reset(affected, event.reason);
  }

  function mayRead(settings: InterfaceSettings, user: User | null): boolean {
    return typeof settings.read === "function" ? settings.read(user) === true : settings.read === true;
  }

  function viewOf(name: string, user: User | null): View {
    const settings = interfaces.get(name);
    const view = views.get(name);
    if (settings === undefined || view === undefined || !mayRead(settings, user)) throw unknownInterface(name);
    return view;
  }

  return {
    name: "dispatcher",
    async start() {},
    stop: once(async () => {}),
    attach(to) {
      publisher = to;
    },
    dispatchBatch,
    advance() {},
    mayRead,
    follow(names, user) {
      const readable = [...interfaces.values()].filter((settings) => mayRead(settings, user));
      const followed = (names ?? readable.map((settings) => settings.name)).map((name) => viewOf(name, user));
      const distinct = [...new Set(followed)];
      for (const view of distinct) if (view.subscribers++ === 0) metrics.views.inc();
      return distinct;
    },
    leave(left) {
      for (const view of left) if (--view.subscribers === 0) metrics.views.dec();
    },
    dispatch(name, operation, data) {
      const view = views.get(name);
      if (view === undefined) throw unknownInterface(name);
      send(view, messagesOf(view, operation, data));
    },
  };
}

function countTraffic(metrics: Metrics, views: ReadonlyMap<string, View>): void {
  counterOf(
    metrics,
    {
      name: "tailgate_changes_total",
      help: "Changes read from the change stream",
      labelNames: ["interface", "operation"],
    },
    function* () {
      for (const [name, view] of views) {
        for (const operation of operations) yield [{ interface: name, operation }, view.changes[operation]];
      }
    },
  );
  const sent = (name: string, help: string, count: (view: View) => number): void =>
    counterOf(metrics, { name, help, labelNames: ["interface"] }, function* () {
      for (const [interfaceName, view] of views) yield [{ interface: interfaceName }, count(view)];
    });
  sent(
    "tailgate_messages_sent_total",
    "Messages handed to connections, each counted once a connection",
    (view) => view.messages,
  );
  sent(
    "tailgate_bytes_sent_total",
    "Bytes of the messages handed to connections, each counted once a connection",
    (view) => view.bytes,
  );
}

function messagesOf(view: View, operation: Operation, data: Document | readonly unknown[]): string[] {
  if (operation === "delete") {
    if (!Array.isArray(data)) throw new RequestError(400, "bad-data", "delete takes a list of removed ids");
    for (const id of data) view.messagesOf({ operation, id: encodeValue(id) });
    return view.flush();
  }
  if (operation !== "insert" && operation !== "update") {
    throw new RequestError(400, "bad-operation", `unknown operation "${operation}": use insert, update or delete`);
  }
  const isDocument = typeof data === "object" && data !== null && !Array.isArray(data);
  if (!isDocument || !("_id" in data || "id" in data)) {
    throw new RequestError(400, "bad-data", `${operation} takes a document with its _id`);
  }
  return [view.message(operation, "_id" in data ? data : { ...data, _id: (data as Document).id })];
}

export function unknownInterface(name: string): RequestError {
  return new RequestError(404, "unknown-interface", `there is no interface "${name}" that you may read`);
}
