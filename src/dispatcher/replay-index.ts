import type { StreamEvent } from "../watcher/change.js";
import type { Replay } from "./replay.js";
import type { View } from "./view.js";
import { ViewIndex } from "./view-index.js";

/** Replays that take the same events in together: each event goes only to those whose view it may concern. */
export class ReplayIndex {
  readonly #replays: readonly Replay[];
  readonly #indexes = new Map<string, ViewIndex>();
  readonly #byView = new Map<View, Replay[]>();
  /** By collection: those that go by the rows of a snapshot, which no index knows. */
  readonly #all = new Map<string, Replay[]>();

  constructor(replays: readonly Replay[]) {
    this.#replays = replays;
    for (const replay of replays) this.#add(replay);
  }

  take(event: StreamEvent): void {
    if (event.kind === "reset") {
      for (const replay of this.#replays) replay.take(event);
      return;
    }
    for (const replay of this.#all.get(event.collection) ?? []) replay.take(event);
    let touched: Iterable<View>;
    try {
      touched = this.#indexes.get(event.collection)?.touchedBy(event) ?? [];
    } catch {
      // Not decoded: the dispatcher has told so, and left it out as well.
      return;
    }
    for (const view of touched) for (const replay of this.#byView.get(view) ?? []) replay.take(event);
  }

  /** Everything up to here has been taken in, also by those that none of it concerned. */
  reached(position: string): void {
    for (const replay of this.#replays) replay.pass(position);
  }

  #add(replay: Replay): void {
    const { view } = replay;
    if (replay.audience.kind === "holding") {
      const all = this.#all.get(view.collection);
      if (all === undefined) this.#all.set(view.collection, [replay]);
      else all.push(replay);
      return;
    }
    const replays = this.#byView.get(view);
    if (replays !== undefined) {
      replays.push(replay);
      return;
    }
    this.#byView.set(view, [replay]);
    const index = this.#indexes.get(view.collection) ?? new ViewIndex({ byImagesAlone: true });
    this.#indexes.set(view.collection, index);
    index.add(view);
  }
}
