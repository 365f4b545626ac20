import { createHash } from "node:crypto";
import type { Document } from "mongodb";
import { compileFilter, type MatchOptions } from "../filter/compile.js";
import type { Filter } from "../filter/parse.js";
import type { Operation } from "../message.js";
import { timeOfPosition } from "../position.js";
import type { Change } from "../watcher/change.js";
import { idKey } from "./id-key.js";
import { overlaps, type Representation } from "./representation.js";
import type { ShownIds } from "./view-index.js";

/** Ids in one delete message: a message of this many ObjectIds has some 27 KB. */
const idsPerMessage = 1_000;

/** What a live message ends with: a position of this length, and its quotes. */
const previousTail = `${"0".repeat(32)}"}`;

const settled = Promise.resolve();

/** What a message begins with. */
type Prefixes = Readonly<Record<Operation, string>>;

/** By the name of the interface: one for all views of it. */
const prefixes = new Map<string, Prefixes>();

/** What a change is to a view's audience: an encoded document, a removed id, or nothing. */
export type Effect = { operation: "insert" | "update"; data: string } | { operation: "delete"; id: string } | undefined;

/** A message to be sent: its data as JSON text, and the position of the last change in it. */
export interface Outgoing {
  readonly operation: Operation;
  readonly data: string;
  readonly position: string;
}

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
 * into messages, once for all of them. It has two topics: one for plain connections, one for subscriptions, whose messages
 * also carry view and positions.
 */
export class View {
  /** The same for the same interface, filter and fields, on every gateway; nothing of the filter can be read from it. */
  readonly id: string;
  readonly interfaceName: string;
  readonly collection: string;
  readonly representation: Representation;
  readonly filter: Filter | undefined;
  readonly matches: (document: Document) => boolean;
  /** It knows what it shows: from then on its audience gets every change. */
  isPrepared = true;
  /** Resolves when it is prepared, or void, or can't be prepared for now. */
  prepared: Promise<void> = settled;
  #decided = (): void => {};
  /** Set when all that its audience holds is void: a connection that had not opened yet begins again, too. */
  isVoid = false;
  /** Connections on the plain topic, and on the other. */
  plainConnections = 0;
  liveConnections = 0;
  /** Those that hold on to the view, on a topic already or still joining; for none, nothing is encoded. */
  holders = 0;
  /** Where its last message stood, or where it was made. */
  lastPosition: string;
  /** Something changed while nobody followed it. */
  #wasIdle = false;
  /**
   * Ids, encoded, of the documents that a filtered view shows. Kept only where the server keeps no pre-images, for then
   * nothing else tells whether a document was shown before a change.
   */
  shown: ShownIds | undefined;
  /** Ids of deletes that follow one another, encoded, not sent yet. */
  #deletes: Set<string> | undefined;
  #deletedAt = "";
  readonly #prefixes: Prefixes;

  constructor(
    shows: { name: string; collection: string },
    representation: Representation,
    filter: Filter | undefined,
    position: string,
    matching: MatchOptions,
  ) {
    this.interfaceName = shows.name;
    this.collection = shows.collection;
    this.representation = representation;
    this.filter = filter;
    this.matches = filter === undefined ? all : compileFilter(filter, matching);
    this.id = viewId(shows.name, filter, representation);
    this.lastPosition = position;
    this.#prefixes = prefixesOf(shows.name);
  }

  get plainTopic(): string {
    return `plain/${this.id}`;
  }

  /**
   * @returns what the change is to the view's audience
   * @throws MembershipUnknownError, and what an application's representation throws
   */
  effectOf(change: Change): Effect {
    const was = this.#wasShown(change);
    const { after } = change;
    const is = after !== undefined && this.matches(after);
    this.#remember(change, is);
    if (!is) return was || this.#isExpected(change) ? { operation: "delete", id: this.encodeId(change) } : undefined;
    const moves = this.shown !== undefined && (change.operation === "insert" || touchesFilter(change, this.filter));
    if (!was) {
      // Its look-up saw a later state: the change that leads there tells of it, unless the document is gone again by then.
      if (this.shown !== undefined && !moves) return undefined;
      return { operation: "insert", data: this.representation.encode(after, change.afterBytes) };
    }
    // One that an earlier look-up saw outside has been told to have left, whether the fields that moved it back show or not.
    if (!moves && !this.representation.mayShow(change)) return undefined;
    const data = this.representation.encode(after, change.afterBytes);
    return !moves && this.looksTheSame(change, data) ? undefined : { operation: "update", data };
  }

  /** Takes note of a change while nobody follows the view: there is nothing to encode. */
  pass(change: Change): void {
    this.#wasIdle = true;
    if (this.shown !== undefined) this.#remember(change, change.after !== undefined && this.matches(change.after));
  }

  /**
   * Somebody begins to follow it. Where nobody did, what it said last is what they were told last.
   *
   * @param position - where they stand
   */
  beginAt(position: string): void {
    if (!this.#wasIdle || this.liveConnections > 0) return;
    this.#wasIdle = false;
    if (position > this.lastPosition) this.lastPosition = position;
  }

  /** @returns the id of the change's document as the view's audience is told of it */
  encodeId(change: Change): string {
    return this.representation.encodeId(change.id, change.documentKey);
  }

  /**
   * @param data - the document after the change, represented
   * @returns whether it is known to have looked so before; not where it could not be represented, for then nobody had it
   */
  looksTheSame(change: Change, data: string): boolean {
    try {
      const { before } = change;
      return before !== undefined && this.representation.encode(before, change.beforeBytes) === data;
    } catch {
      // The application's representation refuses the state before; the one after is what counts.
      return false;
    }
  }

  #wasShown(change: Change): boolean {
    if (change.operation === "insert") return false;
    if (this.filter === undefined) return true;
    if (this.shown !== undefined) return this.shown.has(idKey(change.id));
    if (change.before !== undefined) return this.matches(change.before);
    throw new MembershipUnknownError();
  }

  /** Whether somebody has read the document ahead of the stream. */
  #isExpected(change: Change): boolean {
    if (this.shown === undefined || change.operation === "insert") return false;
    return this.shown.isExpected(idKey(change.id), timeOfPosition(change.position));
  }

  /**
   * Only what a change itself says counts, not what its look-up saw of later ones, for those are still to come and are told then as
   * well: who came meanwhile from another gateway may hold other documents than who was here. So a change that did not touch
   * what the filter looks at leaves its document where it was, and one that was not found any more leaves with its own delete.
   */
  #remember(change: Change, is: boolean): void {
    if (this.shown === undefined || !touchesFilter(change, this.filter)) return;
    if (is) this.shown.add(idKey(change.id));
    else if (change.hasAfter || change.operation === "delete") this.shown.delete(idKey(change.id));
  }

  /** @returns the messages that the effect completes: deletes that came before it, and its own unless it is a delete. */
  outgoingOf(effect: NonNullable<Effect>, position: string): Outgoing[] {
    if (effect.operation === "delete") {
      this.#deletes ??= new Set();
      this.#deletes.add(effect.id);
      this.#deletedAt = position;
      return this.#deletes.size >= idsPerMessage ? this.flush() : [];
    }
    return [...this.flush(), { ...effect, position }];
  }

  /** @returns the message of the deletes that are waiting, if any are. */
  flush(): Outgoing[] {
    if (this.#deletes === undefined) return [];
    const data = `[${[...this.#deletes].join(",")}]`;
    this.#deletes = undefined;
    return [{ operation: "delete", data, position: this.#deletedAt }];
  }

  /** @param data - JSON text */
  plainMessage(operation: Operation, data: string): string {
    return `${this.#prefixes[operation]}${data}}`;
  }

  /**
   * @param data - JSON text
   * @param previous - where the message before it stood
   */
  liveMessage(operation: Operation, data: string, position: string, previous: string): string {
    return `${this.#prefixes[operation]}${data},"view":"${this.id}","position":"${position}","previous":"${previous}"}`;
  }

  /** @returns a live message that follows another position than the one that it was made for */
  following(message: string, previous: string): string {
    return `${message.slice(0, -previousTail.length)}${previous}"}`;
  }

  /** Who comes from now on waits. */
  beginPreparation(): void {
    this.isPrepared = false;
    this.prepared = new Promise((resolve) => {
      this.#decided = resolve;
    });
  }

  /** It knows what it shows, or is void: nobody has to wait for it any more. */
  setPrepared(): void {
    const decided = this.#decided;
    this.isPrepared = true;
    this.prepared = settled;
    decided();
  }

  /** Who has waited is told so; it is tried again, for who comes from now on. */
  failPreparation(): void {
    const decided = this.#decided;
    this.beginPreparation();
    decided();
  }

  /** Ends the view: all that its audience holds is void. */
  end(): void {
    this.isVoid = true;
    this.#deletes = undefined;
    this.shown?.clear();
  }
}

/** @returns whether the change can have moved its document into what the filter selects, or out of it */
export function touchesFilter({ touched }: Change, filter: Filter | undefined): boolean {
  if (filter === undefined) return false;
  // A replacement touches everything.
  return touched?.some((path) => filter.paths.some((looked) => overlaps(path, looked))) ?? true;
}

function all(): boolean {
  return true;
}

function prefixesOf(interfaceName: string): Prefixes {
  const found = prefixes.get(interfaceName);
  if (found !== undefined) return found;
  const prefix = (operation: Operation): string =>
    `{"interface":${JSON.stringify(interfaceName)},"operation":"${operation}","data":`;
  const made = { insert: prefix("insert"), update: prefix("update"), delete: prefix("delete") };
  prefixes.set(interfaceName, made);
  return made;
}

/** Fields in any order are the same fields. */
export function viewId(
  interfaceName: string,
  filter: Filter | undefined,
  { fields, format }: Pick<Representation, "fields" | "format">,
): string {
  const parts = [interfaceName, filter?.canonical ?? "", fields === undefined ? null : [...fields].sort()];
  // What is not said is the default, so that its ids are those of gateways that knew no other format.
  if (format !== "json") parts.push(format);
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url").slice(0, 22);
}
