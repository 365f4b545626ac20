import { RequestError } from "../errors.js";
import type { History } from "./history.js";
import { encodeValue } from "./json.js";
import type { ViewReader } from "./reader.js";
import { Replay } from "./replay.js";
import type { View } from "./view.js";

/** Rows are sent in parts of about this size, in bytes. */
const partBytes = 64_000;
/** A snapshot is held in memory until all who share it have it: no more than this, in bytes. */
const snapshotBytes = 128_000_000;
/** How long after its read a snapshot still serves those who come, in milliseconds. */
const sharedMilliseconds = 1_000;

/** All rows of a view, and what changed since they were read. */
export interface Snapshot {
  /** Rows as JSON texts joined by commas; the last part may be empty. */
  readonly parts: readonly string[];
  /** Begins at the cut: every row is at least as new, and every change after it is sent. */
  readonly replay: Replay;
}

/**
 * Reads snapshots, one at a time for each view, shared by all who want it meanwhile.
 *
 * The cut is the watcher's head when the read begins: a read that begins after a change was seen includes it, on every
 * server. A change made during the read comes again as a whole document, so a client converges.
 */
export class Snapshots {
  readonly #taken = new Map<View, Promise<Snapshot>>();
  /** Of those that have been read. */
  readonly #replays = new Map<View, Replay>();
  readonly #options: { reader: ViewReader; history: History; head: () => string | undefined };

  constructor(options: { reader: ViewReader; history: History; head: () => string | undefined }) {
    this.#options = options;
  }

  /** @throws RequestError 413 `snapshot-too-large`, and the driver's errors */
  take(view: View): Promise<Snapshot> {
    // The history may have gone past one that nobody has looked at meanwhile. Its replay finds out, and it is forgotten.
    this.#replays.get(view)?.advance();
    const found = this.#taken.get(view);
    if (found !== undefined) return found;
    const taken = this.#read(view);
    this.#taken.set(view, taken);
    // One whose replay has failed is of no use to those who come later.
    void taken.then(
      ({ replay }) => {
        if (this.#taken.get(view) === taken) this.#replays.set(view, replay);
        replay.onFailure(() => forget());
      },
      () => undefined,
    );
    const forget = (): void => {
      if (this.#taken.get(view) !== taken) return;
      this.#taken.delete(view);
      this.#replays.delete(view);
    };
    taken.then(() => setTimeout(forget, sharedMilliseconds).unref(), forget);
    return taken;
  }

  async #read(view: View): Promise<Snapshot> {
    const { reader, history, head } = this.#options;
    const cut = head() ?? "";
    const held = new Set<string>();
    const parts: string[] = [];
    let part: string[] = [];
    let inPart = 0;
    let bytes = 0;
    for await (const { document, bytes: stored } of reader.documentsOf(view)) {
      const row = view.representation.encode(document, stored);
      held.add(encodeValue(document._id));
      part.push(row);
      inPart += row.length;
      bytes += row.length;
      if (bytes > snapshotBytes) throw tooLarge();
      if (inPart < partBytes) continue;
      parts.push(part.join(","));
      part = [];
      inPart = 0;
    }
    parts.push(part.join(","));
    return { parts, replay: new Replay(view, cut, history, { kind: "held", ids: held }) };
  }
}

function tooLarge(): RequestError {
  return new RequestError(
    413,
    "snapshot-too-large",
    `the snapshot has more than ${snapshotBytes / 1_000_000} MB: subscribe with a narrower filter or fewer fields`,
  );
}
