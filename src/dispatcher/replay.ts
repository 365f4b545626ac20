import type { Document } from "mongodb";
import type { ResetReason } from "../message.js";
import type { Change } from "../watcher/change.js";
import type { History } from "./history.js";
import { encodeValue } from "./json.js";
import { overlaps } from "./representation.js";
import type { View } from "./view.js";

/** A message of a view, as it goes to those who are not on its topic yet. */
export interface Frame {
  readonly position: string;
  readonly text: string;
}

/** What a replay goes by to say whether a document was in its audience's hands before a change. */
export type Oracle =
  /** The ids, encoded, that the audience holds: those of its snapshot, kept up to date. */
  | { readonly kind: "held"; readonly ids: Set<string> }
  /** Pre-images, and where there is none, whether the change touched what the view's filter looks at. */
  | { readonly kind: "images" };

/**
 * The messages of a view from a position on, made from the history: the ones that its topic carried meanwhile, for somebody
 * who was not listening. Any number of joiners share one.
 */
export class Replay {
  readonly view: View;
  /** Everything up to here is in the audience's hands already. */
  readonly start: string;
  readonly frames: Frame[] = [];
  #failure: ResetReason | undefined;
  #failed: (() => void) | undefined;
  readonly #history: History;
  readonly #oracle: Oracle;
  #place: number | undefined;
  #last: string;

  constructor(view: View, start: string, history: History, oracle: Oracle) {
    this.view = view;
    this.start = start;
    this.#history = history;
    this.#oracle = oracle;
    this.#place = history.placeAfter(start);
    this.#last = start;
    if (this.#place === undefined) this.#failure = "too-far-behind";
  }

  /** Why the history can't tell what the audience missed, where it can't. */
  get failure(): ResetReason | undefined {
    return this.#failure;
  }

  onFailure(failed: () => void): void {
    this.#failed = failed;
    if (this.#failure !== undefined) failed();
  }

  #fail(reason: ResetReason): void {
    this.#failure = reason;
    this.#failed?.();
  }

  /** The ids that the audience holds after all frames, where they are known. */
  get held(): ReadonlySet<string> | undefined {
    return this.#oracle.kind === "held" ? this.#oracle.ids : undefined;
  }

  /** Makes the frames of everything that the history has by now. */
  advance(): void {
    while (this.#failure === undefined && this.#place !== undefined) {
      const event = this.#history.at(this.#place);
      if (event === undefined) return;
      if (event === "gone") this.#fail("too-far-behind");
      else if (event.kind === "reset") {
        if (event.collections?.includes(this.view.collection) ?? true) this.#fail(event.reason);
      } else if (event.collection === this.view.collection) this.#add(event);
      this.#place += 1;
    }
  }

  #add(change: Change): void {
    const was = this.#wasHeld(change);
    if (was === "unknown") {
      this.#fail("membership-unknown");
      return;
    }
    const { after } = change;
    const is = after !== undefined && this.view.matches(after);
    if (this.#oracle.kind === "held") this.#oracle.ids[is ? "add" : "delete"](encodeValue(change.id));
    if (is) this.#push(was ? "update" : "insert", change, this.#encode(change, after, was));
    else if (was) this.#push("delete", change, `[${this.view.encodeId(change)}]`);
  }

  /**
   * After a snapshot even what does not change the representation is sent: a scan can miss a row that moves under it, and
   * then the row comes with the change that moved it.
   */
  #encode(change: Change, after: Document, was: boolean): string | undefined {
    const { representation } = this.view;
    const data = representation.encode(after, change.afterBytes);
    if (this.#oracle.kind === "held" || !was) return data;
    if (change.touched !== undefined && !representation.shows(change.touched)) return undefined;
    const { before, beforeBytes } = change;
    return before !== undefined && representation.encode(before, beforeBytes) === data ? undefined : data;
  }

  #wasHeld(change: Change): boolean | "unknown" {
    if (this.#oracle.kind === "held") return this.#oracle.ids.has(encodeValue(change.id));
    if (change.operation === "insert") return false;
    const { filter } = this.view;
    if (filter === undefined) return true;
    if (change.before !== undefined) return this.view.matches(change.before);
    const { after, touched } = change;
    if (after === undefined || touched === undefined) return "unknown";
    // What the filter looks at stayed as it was, so the document is where it was before.
    const isTouched = touched.some((path) => filter.paths.some((looked) => overlaps(path, looked)));
    return isTouched ? "unknown" : this.view.matches(after);
  }

  #push(operation: "insert" | "update" | "delete", change: Change, data: string | undefined): void {
    if (data === undefined) return;
    const text = this.view.liveMessage(operation, data, change.position, this.#last);
    this.frames.push({ position: change.position, text });
    this.#last = change.position;
  }
}
