import type { Findings } from "./findings.js";
import type { Wanted } from "./views.js";

export type Message = Record<string, unknown>;
export type Row = { readonly id: string } & Record<string, unknown>;

/** What a client took of one document: the version that it was shown, or that it went. */
export type Taken = { readonly operation: "insert" | "update"; readonly v: number } | { readonly operation: "delete" };

/** All that a client took between two moments at which it began anew. */
export interface Epoch {
  /** Versions of the rows that it began with. */
  readonly rows: ReadonlyMap<string, number>;
  readonly taken: Map<string, Taken[]>;
}

export interface ReplicaOptions {
  readonly wanted: Wanted;
  readonly findings: Findings;
  readonly who: string;
  /** Whether the collection was dropped since the client was last ready. */
  dropped(since: number): boolean;
}

/** A copy of one view, kept as the protocol says ("A client" in PROTOCOL.md), which notes every broken promise. */
export class Replica {
  readonly wanted: Wanted;
  readonly who: string;
  readonly rows = new Map<string, Row>();
  readonly epochs: Epoch[] = [];
  position: string | undefined;
  view: string | undefined;
  isReady = false;
  /** How much it has been through, for a run that checked nothing to be seen. */
  readonly counts = { changes: 0, snapshots: 0, recoveries: 0, resets: 0 };
  #clearFirst = true;
  #asked: { since: string | undefined; wasReset: boolean } = { since: undefined, wasReset: false };
  #readyAt = performance.now();
  readonly #options: ReplicaOptions;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.wanted = options.wanted;
    this.who = options.who;
  }

  /** @returns the message that subscribes: with what it holds, so that it goes on from there */
  subscription(id: string): object {
    const { filter, fields } = this.wanted;
    this.isReady = false;
    this.#clearFirst = this.position === undefined;
    this.#asked = { since: this.position, wasReset: false };
    return {
      type: "subscribe",
      id,
      interface: this.wanted.interface,
      ...(Object.keys(filter).length === 0 ? {} : { filter }),
      ...(fields === undefined ? {} : { fields }),
      ...(this.position === undefined ? {} : { since: this.position, view: this.view }),
    };
  }

  /** The connection is gone; what it holds is kept. */
  disconnected(): void {
    this.isReady = false;
  }

  /** Forgets everything, to begin anew. */
  forget(): void {
    this.isReady = false;
    this.position = undefined;
  }

  takeSnapshot(rows: readonly Row[]): void {
    if (this.isReady) this.#wrong("protocol", "rows after ready");
    if (this.#clearFirst) {
      this.rows.clear();
      this.epochs.push({ rows: new Map(), taken: new Map() });
    }
    this.#clearFirst = false;
    this.position = undefined;
    const began = this.epochs.at(-1)?.rows as Map<string, number> | undefined;
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
      this.counts.snapshots += 1;
      if (this.#clearFirst) this.#wrong("protocol", "ready without rows");
      if (since !== undefined && !wasReset) this.#wrong("protocol", "neither recovered nor reset");
      this.position = position as string;
    }
    this.isReady = true;
    this.view = view as string;
    this.#clearFirst = false;
    this.#readyAt = performance.now();
  }

  takeReset(reason: string): void {
    const { wanted } = this;
    const mayNotKnow = reason === "membership-unknown" && wanted.collection === "blind" && wanted.isFiltered;
    const wasDropped = reason === "dropped" && this.#options.dropped(this.#readyAt);
    if (!mayNotKnow && !wasDropped) this.#wrong("reset", `${reason} of ${wanted.interface}`);
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
        this.#note(id, { operation: "delete" });
      }
      return true;
    }
    const row = message.data as Row;
    this.rows.set(row.id, row);
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
