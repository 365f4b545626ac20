import type { Document } from "mongodb";
import type { Operation } from "../message.js";
import type { Change } from "../watcher/change.js";
import { encodeValue } from "./json.js";
import type { Representation } from "./representation.js";

/** Ids in one delete message: a message of this many ObjectIds has some 27 KB. */
const idsPerMessage = 1_000;

/** What a change is to a view's audience: an encoded document, a removed id, or nothing. */
export type Effect = { operation: "insert" | "update"; data: string } | { operation: "delete"; id: string } | undefined;

/**
 * What any number of connections see of one interface. It turns changes into messages, once for all of them, and its
 * messages go to one topic.
 */
export class View {
  readonly interfaceName: string;
  readonly topic: string;
  readonly representation: Representation;
  /** How many connections follow it; nothing is encoded for none. */
  subscribers = 0;
  /** Figures since the start, for the metrics. */
  readonly changes: Record<Operation, number> = { insert: 0, update: 0, delete: 0 };
  messages = 0;
  bytes = 0;
  /** Ids of deletes that follow one another, encoded, not sent yet. */
  #deletes: string[] = [];
  /** Encoded ids that have left early: a look-up did not find them, and their own delete is still to come. */
  readonly #gone = new Set<string>();
  readonly #prefix: Readonly<Record<Operation, string>>;

  constructor(interfaceName: string, topic: string, representation: Representation) {
    this.interfaceName = interfaceName;
    this.topic = topic;
    this.representation = representation;
    const prefix = (operation: Operation): string =>
      `{"interface":${JSON.stringify(interfaceName)},"operation":"${operation}","data":`;
    this.#prefix = { insert: prefix("insert"), update: prefix("update"), delete: prefix("delete") };
  }

  /**
   * @returns what the change is to the view's audience
   * @throws what an application's representation throws
   */
  effectOf(change: Change): Effect {
    const { after, before, operation } = change;
    if (after === undefined) return this.#removal(change);
    if (operation === "insert") return { operation, data: this.representation.encode(after) };
    if (change.touched !== undefined && !this.representation.shows(change.touched)) return undefined;
    const data = this.representation.encode(after);
    if (before !== undefined && this.representation.encode(before) === data) return undefined;
    return { operation: "update", data };
  }

  #removal(change: Change): Effect {
    const id = encodeValue(change.id);
    if (change.operation === "delete") return this.#gone.delete(id) ? undefined : { operation: "delete", id };
    // An update of a document that is gone already: it leaves now, once, and its own delete will say nothing new.
    if (this.#gone.has(id)) return undefined;
    this.#gone.add(id);
    return { operation: "delete", id };
  }

  /** @returns the messages that the effect completes: deletes that came before it, and its own unless it is a delete. */
  messagesOf(effect: NonNullable<Effect>): string[] {
    if (effect.operation === "delete") {
      this.#deletes.push(effect.id);
      return this.#deletes.length >= idsPerMessage ? this.flush() : [];
    }
    return [...this.flush(), `${this.#prefix[effect.operation]}${effect.data}}`];
  }

  /** @returns the message of the deletes that are waiting, if any are. */
  flush(): string[] {
    if (this.#deletes.length === 0) return [];
    const message = `${this.#prefix.delete}[${this.#deletes.join(",")}]}`;
    this.#deletes = [];
    return [message];
  }

  /** @returns an insert or update message of a document that did not come from the change stream. */
  message(operation: "insert" | "update", document: Document): string {
    return `${this.#prefix[operation]}${this.representation.encode(document)}}`;
  }

  /** Forgets what it knows of its documents: all that its audience holds is void. */
  reset(): void {
    this.#deletes = [];
    this.#gone.clear();
  }
}
