import type { ResetReason } from "../message.js";
import { call } from "./call.js";
import { ClientError } from "./error.js";
import { Feed } from "./feed.js";
import type { Asked } from "./query.js";
import type { Change, Copy, Doc, Live, LiveOptions, LiveState, LiveUpdate, Reset } from "./types.js";
import { backoff } from "./wait.js";
import type { About, Follower, Wire } from "./wire.js";

const positionPattern = /^[0-9a-f]{32}$/;
/** How soon the gateway is asked again whether it is as far as a write, in milliseconds; each time twice as long. */
const askAgainMilliseconds = { first: 50, longest: 2_000 };
const unavailable = 503;

/** A copy of one view, kept as PROTOCOL.md says under "A client". */
export class LiveCopy<Row extends Doc> implements Live<Row>, Follower {
  readonly #asked: Asked;
  readonly #wire: Wire;
  readonly #wantsRows: boolean;
  readonly #rows = new Map<string, Row>();
  #position: string | undefined;
  #view: string | undefined;
  #isReady = false;
  #clearFirst = true;
  #state: LiveState = "joining";
  #error: ClientError | undefined;
  /** Why the rows of before are void, until there are others. */
  #reason: ResetReason | undefined;
  #refusals = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  #docs: readonly Row[] | undefined;
  #changes: Change<Row>[] = [];
  #replaced = false;
  #isTelling = false;
  readonly #listeners = new Set<(update: LiveUpdate<Row>) => void>();
  readonly #feeds = new Set<Feed<Change<Row> | Reset<Row>>>();
  /** Called whenever the state or the position is another. */
  readonly #watchers = new Set<() => void>();

  constructor(asked: Asked, wire: Wire, { snapshot = true, copy }: LiveOptions<Row>) {
    this.#asked = asked;
    this.#wire = wire;
    this.#wantsRows = snapshot;
    if (copy === undefined) return;
    for (const row of copy.docs) this.#rows.set(keyOf(row.id), row);
    this.#position = copy.position;
    this.#view = copy.view;
    this.#state = "away";
  }

  get docs(): readonly Row[] {
    // What a broken snapshot left is no copy of anything.
    this.#docs ??= this.#state === "joining" ? [] : [...this.#rows.values()];
    return this.#docs;
  }

  get state(): LiveState {
    return this.#state;
  }

  get error(): ClientError | undefined {
    return this.#error;
  }

  get position(): string | undefined {
    return this.#position;
  }

  get copy(): Copy<Row> | undefined {
    if (this.#state === "joining" || this.#position === undefined || this.#view === undefined) return undefined;
    return { docs: this.docs, position: this.#position, view: this.#view };
  }

  /** Asks for the rows, or for what was missed. */
  join(): void {
    clearTimeout(this.#timer);
    this.#isReady = false;
    this.#clearFirst = this.#position === undefined;
    const since = this.#position === undefined ? {} : { since: this.#position, view: this.#view };
    this.#wire.join({ ...this.#asked, ...since, ...(this.#wantsRows ? {} : { snapshot: false }) });
  }

  left(): void {
    clearTimeout(this.#timer);
    this.#isReady = false;
    if (this.#state === "live") this.#become("away");
  }

  receive(message: About): void {
    if (message.type === "snapshot") this.#addRows(message.data as Row[]);
    else if (message.type === "ready") this.#ready(message);
    else if (message.type === "reset") this.#reset(message.reason);
    else if (message.type === "error") this.#refused(message);
  }

  change(change: Change<Row>): void {
    if (!this.#isReady || change.view !== this.#view || change.position <= (this.#position ?? "")) return;
    if (change.previous > (this.#position ?? "")) {
      // Something was missed, which no gateway that keeps its promises makes happen.
      this.#wire.leave();
      this.join();
      return;
    }
    this.#position = change.position;
    const isEmpty = change.operation === "delete" && change.data.length === 0;
    if (!isEmpty) {
      this.#apply(change);
      this.#changes.push(change);
      for (const feed of this.#feeds) feed.push(change);
      this.#tell();
    }
    this.#look();
  }

  progress(position: string): void {
    if (!this.#isReady || position <= (this.#position ?? "")) return;
    this.#position = position;
    this.#look();
  }

  readonly subscribe = (listener: (update: LiveUpdate<Row>) => void): (() => void) => {
    // Who is there already gets what is waiting for them, for the newcomer's documents have it in them.
    this.#flush();
    const own = (update: LiveUpdate<Row>): void => listener(update);
    this.#listeners.add(own);
    call(own, { ...this.#update(), replaced: true });
    return () => this.#listeners.delete(own);
  };

  changes(): AsyncIterableIterator<Change<Row> | Reset<Row>> {
    const feed: Feed<Change<Row> | Reset<Row>> = new Feed({
      overflow: () => ({ operation: "reset", reason: "too-slow", docs: this.docs }),
      left: () => this.#feeds.delete(feed),
    });
    if (this.#state === "ended") feed.end(this.#error);
    else this.#feeds.add(feed);
    return feed;
  }

  async ready(): Promise<readonly Row[]> {
    await this.#until(() => this.#state === "live");
    return this.docs;
  }

  async caughtUp(position: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (!positionPattern.test(position)) throw new TypeError(`not a position: ${JSON.stringify(position)}`);
    let wait = askAgainMilliseconds.first;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = (): void => {
      this.#wire.ping();
      timer = setTimeout(ask, wait);
      wait = Math.min(askAgainMilliseconds.longest, wait * 2);
    };
    const isThere = (): boolean => this.#state === "live" && (this.#position ?? "") >= position;
    if (!isThere()) ask();
    try {
      await this.#until(isThere, signal);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.end(undefined);
  }

  end(error: ClientError | undefined): void {
    if (this.#state === "ended") return;
    clearTimeout(this.#timer);
    this.#isReady = false;
    this.#wire.leave();
    this.#wire.ended();
    this.#error = error;
    this.#become("ended");
    for (const feed of this.#feeds) feed.end(error);
    this.#feeds.clear();
  }

  #addRows(rows: readonly Row[]): void {
    if (this.#clearFirst) this.#rows.clear();
    this.#clearFirst = false;
    // One that breaks off is not gone on from.
    this.#position = undefined;
    if (this.#wantsRows) for (const row of rows) this.#rows.set(keyOf(row.id), row);
  }

  #ready({ view, position, recovered }: { view: string; position: string; recovered: boolean }): void {
    this.#isReady = true;
    this.#view = view;
    this.#refusals = 0;
    this.#error = undefined;
    if (!recovered) {
      if (this.#clearFirst) this.#rows.clear();
      this.#position = position;
      this.#changes = [];
      this.#replaced = true;
    }
    this.#clearFirst = false;
    this.#become("live");
    const reason = this.#reason;
    this.#reason = undefined;
    if (recovered || reason === undefined) return;
    for (const feed of this.#feeds) feed.push({ operation: "reset", reason, docs: this.docs });
  }

  #reset(reason: ResetReason): void {
    this.#isReady = false;
    this.#clearFirst = true;
    this.#position = undefined;
    this.#reason = reason;
    this.#changes = [];
    this.#replaced = true;
    this.#become("joining");
  }

  #refused({ status, code, title, detail }: Extract<About, { type: "error" }>): void {
    const error = new ClientError(code, [title, detail].filter(Boolean).join(": "), { status });
    if (status !== unavailable) {
      this.end(error);
      return;
    }
    this.#isReady = false;
    this.#error = error;
    this.#become(this.#position === undefined ? "joining" : "away");
    this.#refusals += 1;
    this.#timer = setTimeout(() => this.join(), backoff(this.#refusals + 1));
  }

  #apply(change: Change<Row>): void {
    this.#docs = undefined;
    if (!this.#wantsRows) return;
    if (change.operation === "delete") for (const id of change.data) this.#rows.delete(keyOf(id));
    else this.#rows.set(keyOf(change.data.id), change.data);
  }

  #become(state: LiveState): void {
    this.#state = state;
    this.#tell();
    this.#look();
  }

  #look(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** The listeners are told once of all that comes together. */
  #tell(): void {
    this.#docs = undefined;
    if (this.#isTelling) return;
    this.#isTelling = true;
    setTimeout(() => this.#flush(), 0);
  }

  #flush(): void {
    if (!this.#isTelling) return;
    this.#isTelling = false;
    const update = this.#update();
    this.#changes = [];
    this.#replaced = false;
    for (const listener of [...this.#listeners]) call(listener, update);
  }

  #update(): LiveUpdate<Row> {
    const { docs, state, error } = this;
    return { docs, state, error, changes: this.#changes, replaced: this.#replaced };
  }

  #until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (done: () => void): void => {
        this.#watchers.delete(look);
        signal?.removeEventListener("abort", look);
        done();
      };
      const look = (): void => {
        if (condition()) settle(resolve);
        else if (signal?.aborted) settle(() => reject(signal.reason));
        else if (this.#state === "ended")
          settle(() => reject(this.#error ?? new ClientError("closed", "it was closed")));
      };
      this.#watchers.add(look);
      signal?.addEventListener("abort", look);
      look();
    });
  }
}

function keyOf(id: unknown): string {
  return JSON.stringify(id);
}
