import type { Document } from "mongodb";
import { equalityOf, indexKey, indexKeysAt } from "../filter/equality.js";
import type { Change } from "../watcher/change.js";
import { idKey } from "./id-key.js";
import type { View } from "./view.js";

/** Documents that a view shows, by the keys of their ids. */
export interface ShownIds {
  has(id: string): boolean;
  add(id: string): void;
  delete(id: string): void;
  /**
   * Somebody has read documents that the stream has not brought yet. It may bring only their end, which that one has to be told.
   *
   * @param until - the time, as the beginning of a position, by which the stream has brought them
   */
  expect(ids: Iterable<string>, until: string): void;
  /** @param time - of a change, as the beginning of its position */
  isExpected(id: string, time: string): boolean;
  clear(): void;
}

interface Bucket {
  readonly keysOf: (document: Document) => readonly string[];
  /** A set only where several views have the key: nearly always it is one. */
  readonly views: Map<string, View | Set<View>>;
}

/**
 * The views of one collection, found by what a change touches. One condition of equality of each filter is looked up in a
 * hash table with the values of the document before and after the change, so that 100,000 views of
 * `{ "user.id": … }` cost a change about what one does. Views without such a condition are looked at one by one.
 */
export class ViewIndex {
  readonly #buckets = new Map<string, Bucket>();
  readonly #scanned = new Set<View>();
  /** Of views that have no pre-images to go by: which of them show a document, by the key of its id. */
  readonly #shownBy = new Map<string, Set<View>>();
  /** Filtered views that have nothing but pre-images to go by. */
  readonly #needsImages = new Set<View>();

  readonly #byImagesAlone: boolean;

  /** @param options.byImagesAlone - what views remember of what they have shown does not count */
  constructor({ byImagesAlone = false } = {}) {
    this.#byImagesAlone = byImagesAlone;
  }

  add(view: View): void {
    if (view.filter !== undefined && (this.#byImagesAlone || view.shown === undefined)) this.#needsImages.add(view);
    const equality = view.filter === undefined ? undefined : equalityOf(view.filter);
    if (equality === undefined) {
      this.#scanned.add(view);
      return;
    }
    const bucket = this.#bucketOf(equality.path);
    for (const key of keysOfValues(equality.values)) {
      const found = bucket.views.get(key);
      if (found instanceof Set) found.add(view);
      else bucket.views.set(key, found === undefined ? view : new Set([found, view]));
    }
  }

  remove(view: View): void {
    this.#needsImages.delete(view);
    const equality = view.filter === undefined ? undefined : equalityOf(view.filter);
    if (equality === undefined) {
      this.#scanned.delete(view);
      return;
    }
    const bucket = this.#buckets.get(equality.path);
    for (const key of keysOfValues(equality.values)) {
      const found = bucket?.views.get(key);
      if (found instanceof Set) found.delete(view);
      if (found === view || (found instanceof Set && found.size === 0)) bucket?.views.delete(key);
    }
    if (bucket?.views.size === 0) this.#buckets.delete(equality.path);
  }

  /**
   * @returns every view that the change may concern, each once: those that the document was in before, those that it is in
   *   after, and those that can't be looked up
   */
  touchedBy(change: Change): Iterable<View> {
    if (this.#buckets.size === 0) return this.#scanned;
    const touched = new Set(this.#scanned);
    for (const bucket of this.#buckets.values()) {
      if (change.before !== undefined) addMatching(bucket, change.before, touched);
      if (change.after !== undefined) addMatching(bucket, change.after, touched);
    }
    if (!change.hasBefore && change.operation !== "insert") {
      // Where the document was before can't be looked up.
      for (const view of this.#needsImages) touched.add(view);
      for (const view of this.#shownBy.get(idKey(change.id)) ?? []) touched.add(view);
    }
    return touched;
  }

  /** @returns the ids that the view shows, to be kept up to date by it, and forgotten with it. */
  shownBy(view: View): ShownIds {
    const shownBy = this.#shownBy;
    const ids = new Set<string>();
    const expected = new Set<string>();
    let expectedUntil = "";
    const list = (id: string): void => {
      const views = shownBy.get(id);
      if (views === undefined) shownBy.set(id, new Set([view]));
      else views.add(view);
    };
    const forget = (id: string): void => {
      if (ids.has(id) || expected.has(id)) return;
      const views = shownBy.get(id);
      views?.delete(view);
      if (views?.size === 0) shownBy.delete(id);
    };
    const empty = (set: Set<string>): void => {
      const gone = [...set];
      set.clear();
      for (const id of gone) forget(id);
    };
    return {
      has: (id) => ids.has(id),
      add(id) {
        ids.add(id);
        list(id);
      },
      delete(id) {
        if (ids.delete(id)) forget(id);
      },
      expect(read, until) {
        for (const id of read) {
          if (ids.has(id)) continue;
          expected.add(id);
          list(id);
        }
        if (until > expectedUntil) expectedUntil = until;
      },
      isExpected(id, time) {
        if (expected.size > 0 && time > expectedUntil) empty(expected);
        return expected.has(id);
      },
      clear() {
        empty(expected);
        empty(ids);
      },
    };
  }

  /** Documents that are remembered as shown, for the metrics. */
  get shownIds(): number {
    return this.#shownBy.size;
  }

  #bucketOf(path: string): Bucket {
    const found = this.#buckets.get(path);
    if (found !== undefined) return found;
    const bucket = { keysOf: indexKeysAt(path), views: new Map<string, View | Set<View>>() };
    this.#buckets.set(path, bucket);
    return bucket;
  }
}

function addMatching(bucket: Bucket, document: Document, to: Set<View>): void {
  for (const key of bucket.keysOf(document)) {
    const found = bucket.views.get(key);
    if (found instanceof Set) for (const view of found) to.add(view);
    else if (found !== undefined) to.add(found);
  }
}

function keysOfValues(values: readonly unknown[]): string[] {
  return values.map(indexKey).filter((key) => key !== undefined);
}
