import { createHash } from "node:crypto";
import type { Document } from "mongodb";
import { compileFilter } from "../filter/compile.js";
import type { Filter } from "../filter/parse.js";
import type { Operation } from "../message.js";
import type { Change } from "../watcher/change.js";
import { encodeValue } from "./json.js";
import type { Representation } from "./representation.js";
import type { ShownIds } from "./view-index.js";

/** Ids in one delete message: a message of this many ObjectIds has some 27 KB. */
const idsPerMessage = 1_000;

/** What a change is to a view's audience: an encoded document, a removed id, or nothing. */
export type Effect = { operation: "insert" | "update"; data: string } | { operation: "delete"; id: string } | undefined;

/** The server kept no pre-image of a change, and nothing else says whether its document was shown. */
export class MembershipUnknownError extends Error {
  readonly code = "membership-unknown";

  constructor() {
    super("the server kept no pre-image of a change, so whether its document was shown can't be known");
    this.name = "MembershipUnknownError";
  }
}

/**
 * What any number of connections see of one interface: all of it, or the documents that match a filter. It turns changes
 * into messages, once for all of them, and its messages go to one topic.
 */
export class View {
  readonly interfaceName: string;
  readonly collection: string;
  /** The same for the same interface and filter, on every gateway. */
  readonly topic: string;
  readonly representation: Representation;
  readonly filter: Filter | undefined;
  readonly matches: (document: Document) => boolean;
  /** Resolves when it knows what it shows: from then on its audience gets every change. */
  prepared: Promise<void> = Promise.resolve();
  isPrepared = true;
  /** Set when all that its audience holds is void: a connection that had not opened yet begins again, too. */
  isVoid = false;
  /** How many connections follow it; nothing is encoded for none. */
  subscribers = 0;
  /**
   * Ids, encoded, of the documents that a filtered view shows. Kept only where the server keeps no pre-images, for then
   * nothing else tells whether a document was shown before a change.
   */
  shown: ShownIds | undefined;
  /** Ids of deletes that follow one another, encoded, not sent yet. */
  #deletes: string[] = [];
  /** Encoded ids that have left early: a look-up did not find them, and their own delete is still to come. */
  readonly #gone = new Set<string>();
  readonly #prefix: Readonly<Record<Operation, string>>;

  constructor(shows: { name: string; collection: string }, representation: Representation, filter: Filter | undefined) {
    this.interfaceName = shows.name;
    this.collection = shows.collection;
    this.representation = representation;
    this.filter = filter;
    this.matches = filter === undefined ? () => true : compileFilter(filter);
    this.topic = topicOf(shows.name, filter);
    const prefix = (operation: Operation): string =>
      `{"interface":${JSON.stringify(shows.name)},"operation":"${operation}","data":`;
    this.#prefix = { insert: prefix("insert"), update: prefix("update"), delete: prefix("delete") };
  }

  /**
   * @returns what the change is to the view's audience
   * @throws MembershipUnknownError, and what an application's representation throws
   */
  effectOf(change: Change): Effect {
    const { after, before } = change;
    const was = this.#wasShown(change);
    const is = after !== undefined && this.matches(after);
    this.#remember(change, is);
    if (!is) return was ? { operation: "delete", id: encodeValue(change.id) } : undefined;
    if (!was) return { operation: "insert", data: this.representation.encode(after) };
    if (change.touched !== undefined && !this.representation.shows(change.touched)) return undefined;
    const data = this.representation.encode(after);
    if (before !== undefined && this.representation.encode(before) === data) return undefined;
    return { operation: "update", data };
  }

  #wasShown(change: Change): boolean {
    if (change.operation === "insert") return false;
    if (this.#gone.size > 0 && this.#gone.has(encodeValue(change.id))) return false;
    if (this.filter === undefined) return true;
    if (this.shown !== undefined) return this.shown.has(encodeValue(change.id));
    if (change.before !== undefined) return this.matches(change.before);
    throw new MembershipUnknownError();
  }

  #remember(change: Change, is: boolean): void {
    if (change.after === undefined) {
      // An update of a document that is gone already: it leaves now, once, and its own delete will say nothing new.
      if (change.operation !== "delete") this.#gone.add(encodeValue(change.id));
      else if (this.#gone.size > 0) this.#gone.delete(encodeValue(change.id));
    } else if (this.#gone.size > 0) {
      this.#gone.delete(encodeValue(change.id));
    }
    if (this.shown === undefined) return;
    if (is) this.shown.add(encodeValue(change.id));
    else this.shown.delete(encodeValue(change.id));
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
    this.isVoid = true;
    this.#deletes = [];
    this.#gone.clear();
    this.shown?.clear();
  }
}

/** @returns the view's topic; nothing of the filter can be read from it. */
export function topicOf(interfaceName: string, filter: Filter | undefined): string {
  if (filter === undefined) return `plain/${interfaceName}`;
  return `plain/${interfaceName}/${createHash("sha256").update(filter.canonical).digest("base64url").slice(0, 22)}`;
}
