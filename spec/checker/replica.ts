import type { Findings } from "./findings.js";
import type { Wanted } from "./views.js";

export type Message = Record<string, unknown>;
export type Row = { readonly id: string } & Record<string, unknown>;

/** What a client took of one document: the version that it was shown, or that it went. */
export type Taken = { readonly operation: "insert" | "update"; readonly v: number } | { readonly operation: "delete" };

/** All that a client took between two moments at which it began anew. */
export interface Epoch {
  readonly wanted: Wanted;
  /** Versions of the rows that it began with. */
  readonly rows: Map<string, number>;
  readonly taken: Map<string, Taken[]>;
  /** When it was ready, by the clock of `performance.now()`, where it began with no rows: what was written later it is told. */
  readonly liveSince?: number;
}

/** How a subscription without a position begins. */
export type Beginning = "with rows" | "live";

export interface ReplicaOptions {
  readonly wanted: Wanted;
  readonly findings: Findings;
  readonly who: string;
  /** Whether the collection was dropped since the client was last ready. */
  dropped(since: number): boolean;
}

/** What else is known where a `reset` comes. */
export interface ResetContext {
  /** What the subscription is of, by the claims that now count. */
  readonly wanted: Wanted;
  /** Another subscription of the connection has the same view and began with rows: what they left out, this one has missed. */
  readonly isBesideRows: boolean;
}

/** A copy of one view, kept as the protocol says ("A client" in PROTOCOL.md), which notes every broken promise. */
export class Replica {
  /** Other claims can make it another. */
  wanted: Wanted;
  readonly who: string;
  readonly rows = new Map<string, Row>();
  readonly epochs: Epoch[] = [];
  position: string | undefined;
  view: string | undefined;
  isReady = false;
  /** How much it has been through, for a run that checked nothing to be seen. */
  readonly counts = { changes: 0, snapshots: 0, live: 0, recoveries: 0, resets: 0, ruleChanges: 0 };
  /** On this connection it has begun with rows, or was about to. */
  wasWithRows = false;
  /** Documents that it was told of since it began with no rows; undefined where it had them. */
  toldOf: Set<string> | undefined;
  #clearFirst = true;
  #beginning: Beginning = "with rows";
  #asked: { since: string | undefined; wasReset: boolean } = { since: undefined, wasReset: false };
  #readyAt = performance.now();
  readonly #options: ReplicaOptions;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.wanted = options.wanted;
    this.who = options.who;
  }

  /**
   * @param wanted - what it is of, by the claims that now count
   * @returns the message that subscribes: with what it holds, so that it goes on from there
   */
  subscription(id: string, wanted: Wanted): object {
    const { filter, fields } = this.wanted;
    this.isReady = false;
    // What it holds of another view it says, and is told.
    if (this.position === undefined) this.wanted = wanted;
    this.wasWithRows ||= this.position === undefined && this.#beginning === "with rows";
    this.#clearFirst = this.position === undefined;
    this.#asked = { since: this.position, wasReset: false };
    return {
      type: "subscribe",
      id,
      interface: this.wanted.interface,
      ...(Object.keys(filter).length === 0 ? {} : { filter }),
      ...(fields === undefined ? {} : { fields }),
      ...(this.position === undefined ? {} : { since: this.position, view: this.view }),
      ...(this.#beginning === "live" ? { snapshot: false } : {}),
    };
  }

  /** The connection is gone; what it holds is kept. */
  disconnected(): void {
    this.isReady = false;
    this.wasWithRows = false;
  }

  /** Forgets everything, to begin anew. */
  forget(beginning: Beginning): void {
    this.isReady = false;
    this.position = undefined;
    this.#beginning = beginning;
  }

  takeSnapshot(rows: readonly Row[]): void {
    if (this.isReady) this.#wrong("protocol", "rows after ready");
    if (this.#beginning === "live" && !this.#asked.wasReset) this.#wrong("protocol", "rows that were not asked for");
    if (this.#clearFirst) this.#begin({ wanted: this.wanted, rows: new Map(), taken: new Map() });
    this.position = undefined;
    const began = this.epochs.at(-1)?.rows;
    for (const row of rows) {
      this.rows.set(row.id, row);
      if (typeof row.v === "number") began?.set(row.id, row.v);
    }
  }

  takeReady({ view, position, recovered }: Message): void {
    const { since, wasReset } = this.#asked;
    if (this.isReady) this.#wrong("protocol", "ready twice");
    if (recovered === true) {
      this.counts.recoveries += 1;
      if (position !== this.position || view !== this.view || since === undefined)
        this.#wrong("protocol", `recovered at ${position} of ${view}, not at ${this.position} of ${this.view}`);
    } else {
      this.#takeBeginning();
      if (since !== undefined && !wasReset) this.#wrong("protocol", "neither recovered nor reset");
      this.position = position as string;
    }
    this.isReady = true;
    this.view = view as string;
    this.#clearFirst = false;
    this.#readyAt = performance.now();
  }

  #takeBeginning(): void {
    if (this.#beginning === "live" && !this.#asked.wasReset) {
      this.counts.live += 1;
      const liveSince = performance.now();
      this.#begin({ wanted: this.wanted, rows: new Map(), taken: new Map(), liveSince });
    } else {
      this.counts.snapshots += 1;
      if (this.#clearFirst) this.#wrong("protocol", "ready without rows");
    }
    this.#beginning = "with rows";
  }

  #begin(epoch: Epoch): void {
    this.rows.clear();
    this.epochs.push(epoch);
    this.toldOf = epoch.liveSince === undefined ? undefined : new Set();
    this.#clearFirst = false;
  }

  takeReset(reason: string, { wanted, isBesideRows }: ResetContext): void {
    const mayNotKnow = reason === "membership-unknown" && this.wanted.collection === "blind" && this.wanted.isFiltered;
    const wasDropped = reason === "dropped" && this.#options.dropped(this.#readyAt);
    const hasChanged = reason === "rule-changed" && wanted.key !== this.wanted.key;
    const wasLeftOut = reason === "too-far-behind" && isBesideRows;
    if (!mayNotKnow && !wasDropped && !hasChanged && !wasLeftOut)
      this.#wrong("reset", `${reason} of ${this.wanted.interface}`);
    this.wanted = wanted;
    this.wasWithRows = true;
    if (hasChanged) this.counts.ruleChanges += 1;
    this.counts.resets += 1;
    this.isReady = false;
    this.#clearFirst = true;
    this.#asked = { ...this.#asked, wasReset: true };
    this.position = undefined;
  }

  /** Everything of the view is complete up to there. */
  advance(position: string): void {
    if (this.isReady && this.position !== undefined && position > this.position) this.position = position;
  }

  /**
   * @param isShared - another subscription of this connection has the same view: its messages are this one's, too
   * @returns false where it has missed something, and has to subscribe again
   */
  takeChange(message: Message, isShared: boolean): boolean {
    if (!this.isReady || message.view !== this.view || this.position === undefined) return true;
    const position = message.position as string;
    if (position <= this.position) {
      if (!isShared) this.#wrong("doubled", `${position} after ${this.position}: ${JSON.stringify(message)}`);
      return true;
    }
    if ((message.previous as string) > this.position) {
      this.#wrong("gap", `${message.previous} before ${position}, standing at ${this.position}`);
      return false;
    }
    this.position = position;
    this.counts.changes += 1;
    if (message.operation === "delete") {
      for (const id of message.data as string[]) {
        this.rows.delete(id);
        this.toldOf?.add(id);
        this.#note(id, { operation: "delete" });
      }
      return true;
    }
    const row = message.data as Row;
    this.rows.set(row.id, row);
    this.toldOf?.add(row.id);
    if (typeof row.v === "number")
      this.#note(row.id, { operation: message.operation as "insert" | "update", v: row.v });
    return true;
  }

  #note(id: string, taken: Taken): void {
    const epoch = this.epochs.at(-1);
    const list = epoch?.taken.get(id);
    if (list === undefined) epoch?.taken.set(id, [taken]);
    else list.push(taken);
  }

  #wrong(kind: "protocol" | "reset" | "doubled" | "gap", detail: string): void {
    this.#options.findings.add(kind, this.who, detail);
  }
}
