import type { CollectionName, Stamped } from "./documents.js";

interface Entry {
  readonly collection: CollectionName;
  /** Every version that was ever tried, whether it came to be or not. */
  readonly tried: Map<number, Stamped>;
  /** When each of them was first tried, by the clock of `performance.now()`. */
  readonly begunAt: Map<number, number>;
  /** What the document was, one after another; undefined: removed. */
  readonly states: (Stamped | undefined)[];
}

/** What was written, to compare with it what clients were told. Versions of a document only rise, also when it comes back. */
export class Ledger {
  readonly #entries = new Map<string, Entry>();
  writes = 0;

  /** Before a write: from now on clients may be told of it. */
  intend(collection: CollectionName, document: Stamped): void {
    const found = this.#entries.get(document._id);
    const entry: Entry = found ?? { collection, tried: new Map(), begunAt: new Map(), states: [] };
    if (found === undefined) this.#entries.set(document._id, entry);
    entry.tried.set(document.v, document);
    entry.begunAt.set(document.v, performance.now());
  }

  /** After a write: it was done. */
  done(id: string, state: Stamped | undefined): void {
    this.#entries.get(id)?.states.push(state);
    this.writes += 1;
  }

  /** @returns every state that any client may ever have been told of */
  triedOf(id: string): Iterable<Stamped> {
    return this.#entries.get(id)?.tried.values() ?? [];
  }

  version(id: string, v: number): Stamped | undefined {
    return this.#entries.get(id)?.tried.get(v);
  }

  /** Whether the version was written after that moment, by the clock of `performance.now()`. */
  isAfter(id: string, v: number, moment: number): boolean {
    return (this.#entries.get(id)?.begunAt.get(v) ?? 0) > moment;
  }

  collectionOf(id: string): CollectionName | undefined {
    return this.#entries.get(id)?.collection;
  }

  /** What really was, in order, of every document of the collection. */
  *histories(collection: CollectionName): Generator<readonly [id: string, states: readonly (Stamped | undefined)[]]> {
    for (const [id, entry] of this.#entries) if (entry.collection === collection) yield [id, entry.states];
  }
}
