import type { Document } from "mongodb";
import { turnOfTheEventLoop } from "../retry.js";
import { idKey } from "./id-key.js";
import type { ViewReader } from "./reader.js";
import { Replay } from "./replay.js";
import type { Replays } from "./replays.js";
import type { View } from "./view.js";

/** Rows are sent in parts of about this size, in bytes. */
const partBytes = 64_000;
/** A read waits when this much has not been taken by the slowest of its readers, in bytes. */
const windowBytes = 2_000_000;
/** What is kept of a read for those who come later, in bytes: a larger one is shared only by those who are there in time. */
const keptBytes = 8_000_000;
/**
 * Ids of rows that are kept to tell what a change since the cut is to who read them. Of more rows only pre-images tell: what
 * they hold already can then come once more as an insert.
 */
const keptIds = 100_000;
/** How long after its end a read that was kept whole still serves those who come, in milliseconds. */
const sharedMilliseconds = 1_000;
/** How long a reader may hold up others of the same read, in milliseconds. */
const patienceMilliseconds = 5_000;

/** The reader has held others up, or taken nothing for too long: it has to read by itself. */
export class SlowReaderError extends Error {
  readonly code = "slow-reader";

  constructor() {
    super("the rows were not taken in time");
    this.name = "SlowReaderError";
  }
}

/** The rows of a view for one reader, part by part, and then what has changed since. */
export interface Snapshot {
  /**
   * @returns the next part: rows as JSON texts joined by commas, perhaps none, and whether it is the last; undefined after
   *   that
   * @throws the driver's errors, and SlowReaderError
   */
  next(): Promise<{ readonly rows: string; readonly isLast: boolean } | undefined>;
  /** Begins at the cut: every row is at least as new. To be asked for after the last part. */
  readonly replay: Replay;
  /** Lets go of it; those who share it go on. */
  close(): void;
}

export interface SnapshotsOptions {
  readonly reader: ViewReader;
  /** The place up to which everything has been dispatched. */
  readonly head: () => string | undefined;
  readonly replays: Replays;
  /** What the changes since one read may take in memory. */
  readonly replayBytes: number;
  /** Told of a row that can't be represented. */
  readonly quarantine: (error: unknown, view: View) => void;
}

/**
 * Reads the rows of views, in step with those who take them: a collection of any size passes through a window. Who comes
 * while a view is being read, or right after with nothing changed, shares the read and its cut.
 */
export class Snapshots {
  readonly #shared = new Map<View, Read>();
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /**
   * @param how.isAlone - for a reader that was too slow to share one
   * @param how.asTheyCome - not at one moment in time
   */
  take(view: View, how: { isAlone?: boolean; asTheyCome?: boolean } = {}): Snapshot {
    const { isAlone = false, asTheyCome = false } = how;
    const found = isAlone ? undefined : this.#shared.get(view);
    if (found?.isOpen) return found.join();
    const read = new Read(view, { ...this.#options, asTheyCome }, () => {
      if (this.#shared.get(view) === read) this.#shared.delete(view);
    });
    if (!isAlone) this.#shared.set(view, read);
    return read.join();
  }
}

interface Reader {
  /** Index of the part that it takes next. */
  at: number;
  isCut: boolean;
}

/** One read of a view's rows, and those who share it. */
class Read {
  readonly #view: View;
  readonly #options: SnapshotsOptions & { readonly asTheyCome: boolean };
  readonly #over: () => void;
  readonly #readers = new Set<Reader>();
  readonly #parts: string[] = [];
  /** Parts that have left: the first in `#parts` has this index. */
  #left = 0;
  #bytes = 0;
  #hasEnded = false;
  #failure: { error: unknown } | undefined;
  #replay: Replay | undefined;
  #wake: (() => void)[] = [];

  /** @param over - the read serves nobody who comes from now on */
  constructor(view: View, options: SnapshotsOptions & { readonly asTheyCome: boolean }, over: () => void) {
    this.#view = view;
    this.#options = options;
    this.#over = over;
    this.#readAll()
      .then(
        () => setTimeout(over, sharedMilliseconds).unref(),
        (error: unknown) => {
          this.#failure = { error };
          over();
        },
      )
      .finally(() => this.#wakeAll());
  }

  /**
   * Whether it serves one more: it can still be had from its first part on, and is still being read or shows what is there.
   * One that has ended before a change would show a client what it knows to be old.
   */
  get isOpen(): boolean {
    if (this.#left > 0 || this.#failure !== undefined) return false;
    const replay = this.#replay;
    if (!this.#hasEnded || replay === undefined) return true;
    return this.#options.replays.advance(replay) && replay.failure === undefined && replay.frames.length === 0;
  }

  join(): Snapshot {
    const reader: Reader = { at: 0, isCut: false };
    this.#readers.add(reader);
    const replayOf = (): Replay => {
      if (this.#replay === undefined) throw new TypeError("the rows have not been read yet");
      return this.#replay;
    };
    return {
      next: () => this.#next(reader),
      get replay() {
        return replayOf();
      },
      close: () => {
        this.#readers.delete(reader);
        this.#drop();
        this.#wakeAll();
      },
    };
  }

  async #next(reader: Reader): Promise<{ rows: string; isLast: boolean } | undefined> {
    for (;;) {
      if (reader.isCut) throw new SlowReaderError();
      if (this.#failure !== undefined) throw this.#failure.error;
      const rows = this.#parts[reader.at - this.#left];
      if (rows !== undefined) {
        reader.at += 1;
        this.#drop();
        this.#wakeAll();
        return { rows, isLast: this.#hasEnded && reader.at === this.#left + this.#parts.length };
      }
      if (this.#hasEnded) return undefined;
      await this.#change();
    }
  }

  async #readAll(): Promise<void> {
    const { reader, head, asTheyCome } = this.#options;
    const { collection, filter, representation, shown } = this.#view;
    const rows = await reader.rowsOf({ collection, filter, representation }, head() ?? "", asTheyCome);
    const { isExact } = rows;
    const held = new Map<string, string | undefined>();
    const budget = { used: 0, most: this.#options.replayBytes, mostEach: this.#options.replayBytes };
    // Who comes later gets what has changed since the cut as well: it is of no use once that can't be had.
    this.#replay = new Replay(this.#view, rows.cut, { kind: "holding", isExact, rows: held }, budget);
    this.#replay.onFailure(this.#over);
    let part: string[] = [];
    let inPart = 0;
    try {
      for await (const { document, bytes } of rows.documents) {
        const row = this.#encode(document, bytes);
        if (row === undefined) continue;
        if (held.size < keptIds || shown !== undefined)
          held.set(idKey(document._id), this.#bytes > keptBytes ? undefined : row);
        else this.#replay.audience = { kind: "joining", isExact };
        part.push(row);
        inPart += row.length;
        if (inPart < partBytes) continue;
        await this.#add(part.join(","));
        if (this.#readers.size === 0) throw new SlowReaderError();
        part = [];
        inPart = 0;
      }
      shown?.expect(held.keys(), rows.newest);
      this.#hasEnded = true;
      this.#push(part.join(","));
    } finally {
      // Nobody waits for the server to have closed its cursor.
      void rows.close().catch(() => undefined);
    }
  }

  /** @returns undefined for a row that can't be represented: the others are shown all the same. */
  #encode(document: Document, bytes: Uint8Array | undefined): string | undefined {
    try {
      return this.#view.representation.encode(document, bytes);
    } catch (error) {
      this.#options.quarantine(error, this.#view);
      return undefined;
    }
  }

  #push(part: string): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    this.#drop();
    this.#wakeAll();
  }

  /** Adds a part, and waits until there is room for the next. */
  async #add(part: string): Promise<void> {
    this.#push(part);
    let since = performance.now();
    let slowest = this.#slowest;
    while (this.#readers.size > 0 && this.#ahead > windowBytes) {
      await this.#changeOrPatience();
      const now = this.#slowest;
      if (now !== slowest) since = performance.now();
      slowest = now;
      if (performance.now() - since >= patienceMilliseconds) this.#cutSlowest();
    }
    // Where everybody keeps up, others still get their turn.
    await turnOfTheEventLoop();
  }

  /** Others wait for it: it begins anew by itself. One that is alone holds nobody up. */
  #cutSlowest(): void {
    if (this.#readers.size < 2) return;
    const slowest = this.#slowest;
    for (const reader of this.#readers) {
      if (reader.at !== slowest || this.#readers.size < 2) continue;
      reader.isCut = true;
      this.#readers.delete(reader);
    }
    this.#drop();
    this.#wakeAll();
  }

  get #slowest(): number {
    let slowest = Number.POSITIVE_INFINITY;
    for (const { at } of this.#readers) slowest = Math.min(slowest, at);
    return slowest;
  }

  /** Bytes that the slowest reader has not taken. */
  get #ahead(): number {
    const from = Math.max(0, this.#slowest - this.#left);
    let bytes = 0;
    for (let index = from; index < this.#parts.length; index++) bytes += this.#parts[index]?.length ?? 0;
    return bytes;
  }

  /** Lets parts go that all have taken, unless the whole is small enough to be kept for those who come later. */
  #drop(): void {
    if (this.#bytes <= keptBytes) return;
    const taken = Math.min(this.#slowest, this.#left + this.#parts.length) - this.#left;
    if (taken <= 0) return;
    this.#parts.splice(0, taken);
    this.#left += taken;
    this.#over();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  /** Resolves at the next change, or when the patience with the slowest is over. */
  async #changeOrPatience(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, patienceMilliseconds);
    });
    await Promise.race([this.#change(), patience]);
    clearTimeout(timer);
  }

  #wakeAll(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }
}
