import type { InterfaceSettings } from "../config/settings.js";
import type { Filter } from "../filter/parse.js";
import type { Logger } from "../log.js";
import { timeOfPosition } from "../position.js";
import { createBackoff, sleep } from "../retry.js";
import type { Change } from "../watcher/change.js";
import { idKey } from "./id-key.js";
import type { ViewReader } from "./reader.js";
import type { Representation } from "./representation.js";
import { View, viewId } from "./view.js";
import { ViewIndex } from "./view-index.js";

/** Changes that may wait for a view that is being prepared; more than that and its audience starts again. */
const pendingChanges = 100_000;

/** How long those who want a view wait while what it shows can't be read, in milliseconds, before they are told so. */
const patienceMilliseconds = 5_000;
/** How long the stream may take to reach what was read, in milliseconds: without writes, until the server's next sign of life. */
const behindMilliseconds = 12_000;
/** The same where it may be there without saying so. */
const quietMilliseconds = 2_000;

/** A filtered view that does not yet know what it shows, and the changes that wait for it. */
interface Preparation {
  readonly view: View;
  pending: Change[];
}

export interface ViewsOptions {
  reader: ViewReader;
  /** The place up to which everything has been dispatched. */
  head: () => string;
  log: Logger;
  signal: AbortSignal;
  /** A view is ready: the changes that came meanwhile are to be applied to it. */
  ready(view: View, pending: readonly Change[]): void;
  /** More changes came than can wait. */
  overflowed(view: View): void;
}

/**
 * All views, shared by those who see the same. A filtered view is prepared first: where the server keeps no pre-images, the
 * ids that it shows are read. Whatever changes meanwhile waits, in order, until the stream has reached what was read: a document
 * that has left since would else leave unnoticed. Applying those changes again does no harm.
 */
export class Views {
  readonly #byId = new Map<string, View>();
  readonly #indexes = new Map<string, ViewIndex>();
  readonly #preparations = new Map<string, Set<Preparation>>();
  /** Collections of which an image was missing, whatever their options say. */
  readonly #blind = new Set<string>();
  /** Those who wait for the head to reach a time. */
  readonly #behind = new Set<{ readonly time: string; readonly reached: () => void }>();
  readonly #options: ViewsOptions;

  constructor(options: ViewsOptions) {
    this.#options = options;
  }

  /**
   * @param representation - what of each document is shown
   * @param position - where the stream stands: a view that has to be made begins there
   * @returns the view of the interface, filter and fields, made when it is first asked for
   */
  of(settings: InterfaceSettings, filter: Filter | undefined, representation: Representation, position: string): View {
    const found = this.#byId.get(viewId(settings.name, filter, representation));
    if (found !== undefined) return found;
    const view = new View(settings, representation, filter, position, this.#options.reader.matching);
    this.#byId.set(view.id, view);
    if (filter === undefined) this.#indexOf(view.collection).add(view);
    else this.#beginPreparation(view, filter);
    return view;
  }

  /** Forgets a view that nobody follows any more. */
  remove(view: View): void {
    if (this.#byId.get(view.id) !== view) return;
    this.#byId.delete(view.id);
    this.#endPreparation(view);
    this.#indexOf(view.collection).remove(view);
    view.shown?.clear();
  }

  /** @returns the views that the change may concern; those that are being prepared get it later. */
  touchedBy(change: Change): Iterable<View> {
    const preparations = this.#preparations.get(change.collection);
    if (preparations !== undefined) for (const preparation of preparations) this.#wait(preparation, change);
    return this.#indexes.get(change.collection)?.touchedBy(change) ?? [];
  }

  /**
   * Who returns may hold what this gateway has not seen: another one, or the API, has read it ahead of the stream, or looked it up
   * at another moment. All of that happened before they came. When the stream has reached the present, its end is either among
   * the changes that they are told, or is still to come for a document that the view has.
   *
   * @returns false where the stream does not come that far, and so it can't be told what they hold
   */
  async hasReachedThePresent(view: View): Promise<boolean> {
    if (view.shown === undefined) return true;
    const { reader, head } = this.#options;
    const present = await reader.present();
    if (present === undefined || present <= timeOfPosition(head())) return true;
    // Of others than MongoDB a stream may say nothing of its place for long where nothing is written.
    const isReached = await this.#reaches(present, reader.saysItsPlace ? behindMilliseconds : quietMilliseconds);
    return isReached || !reader.saysItsPlace;
  }

  /** The head has moved. */
  moved(head: string): void {
    if (this.#behind.size === 0) return;
    const time = timeOfPosition(head);
    for (const waiting of this.#behind) {
      if (waiting.time > time) continue;
      this.#behind.delete(waiting);
      waiting.reached();
    }
  }

  /** Remembers that images of the collection can't be relied on: its views keep what they show from now on. */
  distrustImages(collection: string): void {
    this.#blind.add(collection);
  }

  [Symbol.iterator](): Iterator<View> {
    return this.#byId.values();
  }

  /** Ids that are kept because there are no pre-images to go by. */
  get shownIds(): number {
    let count = 0;
    for (const index of this.#indexes.values()) count += index.shownIds;
    return count;
  }

  #indexOf(collection: string): ViewIndex {
    const found = this.#indexes.get(collection);
    if (found !== undefined) return found;
    const index = new ViewIndex();
    this.#indexes.set(collection, index);
    return index;
  }

  #endPreparation(view: View): void {
    const preparations = this.#preparations.get(view.collection);
    for (const preparation of preparations ?? []) if (preparation.view === view) preparations?.delete(preparation);
    if (preparations?.size === 0) this.#preparations.delete(view.collection);
  }

  #wait(preparation: Preparation, change: Change): void {
    preparation.pending.push(change);
    if (preparation.pending.length <= pendingChanges) return;
    preparation.pending = [];
    this.#options.overflowed(preparation.view);
  }

  /** @returns the ids of the documents that it shows, once the stream has reached what they are of */
  async #idsOf(view: View, filter: Filter): Promise<readonly unknown[]> {
    const { reader, head } = this.#options;
    const { ids, newest } = await reader.idsOf(view.collection, filter, head());
    if (newest > timeOfPosition(head()) && !(await this.#reaches(newest, behindMilliseconds))) {
      throw new Error("the change stream is behind what was read");
    }
    return ids;
  }

  /** @returns whether the stream reaches the time, before it takes too long */
  async #reaches(time: string, milliseconds: number): Promise<boolean> {
    const ending = new AbortController();
    const isReached = await new Promise<boolean>((resolve) => {
      const waiting = { time, reached: () => resolve(true) };
      this.#behind.add(waiting);
      void sleep(milliseconds, AbortSignal.any([this.#options.signal, ending.signal])).then(() => {
        this.#behind.delete(waiting);
        resolve(false);
      });
    });
    ending.abort();
    return isReached;
  }

  #beginPreparation(view: View, filter: Filter): void {
    view.beginPreparation();
    void this.#prepare(view, filter).then(() => view.setPrepared());
  }

  async #prepare(view: View, filter: Filter): Promise<void> {
    const { reader, log, signal } = this.#options;
    const preparation: Preparation = { view, pending: [] };
    const others = this.#preparations.get(view.collection) ?? new Set<Preparation>();
    this.#preparations.set(view.collection, others.add(preparation));
    const backoff = createBackoff({ baseMilliseconds: 500, maxMilliseconds: 10_000, floorMilliseconds: 100 });
    const patience = performance.now() + patienceMilliseconds;
    let ids: readonly unknown[] | "not needed" | undefined;
    while (ids === undefined && this.#byId.get(view.id) === view && !signal.aborted) {
      try {
        const hasImages = !this.#blind.has(view.collection) && (await reader.hasImages(view.collection));
        ids = hasImages ? "not needed" : await this.#idsOf(view, filter);
      } catch (error) {
        log.warn({ err: error, interface: view.interfaceName }, "view not prepared yet");
        if (performance.now() > patience) view.failPreparation();
        await sleep(backoff.next(), signal);
      }
    }
    this.#endPreparation(view);
    if (ids === undefined || this.#byId.get(view.id) !== view) return;
    const index = this.#indexOf(view.collection);
    if (ids !== "not needed") {
      view.shown = index.shownBy(view);
      for (const id of ids) view.shown.add(idKey(id));
    }
    index.add(view);
    this.#options.ready(view, preparation.pending);
  }
}
