import type { ResetReason } from "../message.js";
import type { Change, StreamEvent } from "../watcher/change.js";
import { idKey } from "./id-key.js";
import { touchesFilter, type View } from "./view.js";

/** A message of a view, as it goes to those who are not on its topic yet. */
export interface Frame {
  readonly position: string;
  readonly text: string;
}

/** For whom a replay is made, and so what tells whether a document was in their hands before a change. */
export type Audience =
  /** Who was away: pre-images tell, and where there is none, whether the change touched what the view's filter looks at. */
  | { readonly kind: "returning" }
  /** Who just read the rows: those by the key of their id, kept up to date; undefined where only the id of a row is known. */
  | { readonly kind: "holding"; readonly isExact: boolean; readonly rows: Map<string, string | undefined> }
  /** Who just read more rows than there can be ids kept of: pre-images tell, for a collection that has them. */
  | { readonly kind: "joining"; readonly isExact: boolean };

/**
 * The messages of a view from a position on, made again from the changes: the ones that its topic carried meanwhile, for
 * those who were not listening. Any number of them share one.
 */
export class Replay {
  readonly view: View;
  /** Everything up to here is in the audience's hands already. */
  readonly start: string;
  readonly frames: Frame[] = [];
  /** Every change up to here has been taken in. */
  reached: string;
  #failure: ResetReason | undefined;
  #failed: (() => void) | undefined;
  audience: Audience;
  #last: string;
  #bytes = 0;
  #holders = 0;
  readonly #budget: Budget | undefined;

  /** @param budget - what all replays of those who return may take together; else this one is bounded by its audience */
  constructor(view: View, start: string, audience: Audience, budget?: Budget) {
    this.#budget = budget;
    this.view = view;
    this.start = start;
    this.reached = start;
    this.audience = audience;
    this.#last = start;
  }

  /** Whether it leaves out what its audience's rows show already, which others who follow the view may not have. */
  get isOfRowsAlone(): boolean {
    return this.audience.kind === "holding" && !this.audience.isExact;
  }

  /** Why it can't be told what the audience missed, where it can't. */
  get failure(): ResetReason | undefined {
    return this.#failure;
  }

  onFailure(failed: () => void): void {
    this.#failed = failed;
    if (this.#failure !== undefined) failed();
  }

  fail(reason: ResetReason): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    this.#failed?.();
  }

  /** Counts one who goes by it; `release` undoes that. */
  hold(): this {
    this.#holders += 1;
    return this;
  }

  /** When nobody goes by it any more, its memory is for others. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders > 0 || this.#budget === undefined) return;
    this.#budget.used -= this.#bytes;
    this.#bytes = 0;
    this.frames.length = 0;
    this.fail("too-far-behind");
  }

  /** Nothing up to here concerns it that it has not taken in. */
  pass(position: string): void {
    if (position > this.reached) this.reached = position;
  }

  /** @returns the index of the first frame after the position */
  indexAfter(position: string): number {
    let low = 0;
    let high = this.frames.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.frames[middle] as Frame).position > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Takes the next event of the stream in; one that has been taken in already is passed over. */
  take(event: StreamEvent): void {
    if (this.#failure !== undefined || event.position <= this.reached) return;
    this.reached = event.position;
    if (event.kind === "reset") {
      if (event.collections?.includes(this.view.collection) ?? true) this.fail(event.reason);
      return;
    }
    if (event.collection !== this.view.collection) return;
    try {
      this.#add(event);
    } catch {
      // Not decoded, or not represented: the dispatcher has told so, and left it out as well.
    }
  }

  #add(change: Change): void {
    const was = this.#wasHeld(change);
    if (was === "unknown") {
      this.fail("membership-unknown");
      return;
    }
    const { after } = change;
    const is = after !== undefined && this.view.matches(after);
    // What a look-up saw of later changes may have ended when they come, and then nobody but this audience would be missing that.
    if (is && change.seenAhead !== undefined) this.view.shown?.expect([idKey(change.id)], change.seenAhead);
    if (!is) {
      if (this.audience.kind === "holding") this.audience.rows.delete(idKey(change.id));
      if (was) this.#push("delete", change, `[${this.view.encodeId(change)}]`);
      return;
    }
    const { representation } = this.view;
    if (this.audience.kind === "holding") {
      const data = representation.encode(after, change.afterBytes);
      const id = idKey(change.id);
      // The row may be as new as this change already.
      if (this.audience.rows.get(id) === data) return;
      this.audience.rows.set(id, data);
      this.#push(was ? "update" : "insert", change, data);
      return;
    }
    const mustTell = !was || this.#mustTell(change);
    if (!mustTell && !representation.mayShow(change)) return;
    const data = representation.encode(after, change.afterBytes);
    if (mustTell || !this.view.looksTheSame(change, data)) this.#push(was ? "update" : "insert", change, data);
  }

  /**
   * A scan can miss a row whose place in an index moves under it, and then the row comes with the change that moved it:
   * that is sent even if nothing shows. Only a read of one moment in time misses none.
   *
   * Who has read the rows gets every change since. Who returns may have been cut off right after the rows, and gets those
   * changes that can have moved a row within what the filter selects.
   */
  #mustTell(change: Change): boolean {
    if (this.audience.kind !== "returning") return !this.audience.isExact;
    return touchesFilter(change, this.view.filter);
  }

  #wasHeld(change: Change): boolean | "unknown" {
    if (this.audience.kind === "holding") return this.audience.rows.has(idKey(change.id));
    if (change.operation === "insert") return false;
    const { filter } = this.view;
    if (filter === undefined) return true;
    if (change.before !== undefined) return this.view.matches(change.before);
    // What the filter looks at stayed as it was, so the document is where it was before.
    const isKnown = change.hasAfter && change.touched !== undefined && !touchesFilter(change, filter);
    return isKnown ? this.view.matches(change.after ?? {}) : "unknown";
  }

  #isOverBudget(bytes: number): boolean {
    this.#bytes += bytes;
    if (this.#budget === undefined) return false;
    this.#budget.used += bytes;
    return this.#bytes > this.#budget.mostEach || this.#budget.used > this.#budget.most;
  }

  #push(operation: "insert" | "update" | "delete", change: Change, data: string): void {
    const text = this.view.liveMessage(operation, data, change.position, this.#last);
    if (this.#isOverBudget(text.length)) {
      this.fail("too-far-behind");
      return;
    }
    this.frames.push({ position: change.position, text });
    this.#last = change.position;
  }
}

/** What replays may take in memory, in bytes of their frames. */
export interface Budget {
  used: number;
  /** All of them together. */
  readonly most: number;
  readonly mostEach: number;
}
