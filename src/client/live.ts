import type { ResetReason } from "../message.js";
import { Audience } from "./audience.js";
import { ClientError } from "./error.js";
import type { Asked } from "./query.js";
import type { Change, Copy, Doc, Live, LiveOptions, LiveState, LiveUpdate, Reset } from "./types.js";
import { backoff, pauseAfterRefusal } from "./wait.js";
import type { About, Follower, Wire } from "./wire.js";

const positionPattern = /^[0-9a-f]{32}$/;
const unavailable = 503;
const none: readonly never[] = [];

/** A copy of one view, kept as PROTOCOL.md says under "A client". */
export class LiveCopy<Row extends Doc> implements Live<Row>, Follower {
  readonly #asked: Asked;
  readonly #wire: Wire;
  readonly #wantsRows: boolean;
  readonly #audience: Audience<Row>;
  readonly #rows = new Map<string, Row>();
  /** The rows as an array, as long as they are the same. */
  #docs: readonly Row[] | undefined;
  /** Undefined while the rows are no copy of anything. */
  #position: string | undefined;
  #view: string | undefined;
  #isReady = false;
  #clearFirst = true;
  #state: LiveState = "joining";
  #error: ClientError | undefined;
  /** Why the rows of before are void, until there are others. */
  #reason: ResetReason | undefined;
  #refusals = 0;
  #gaps = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Called whenever the state or the position is another. */
  readonly #watchers = new Set<() => void>();

  constructor(asked: Asked, wire: Wire, { snapshot = true, copy }: LiveOptions<Row>) {
    this.#asked = asked;
    this.#wire = wire;
    this.#wantsRows = snapshot;
    this.#audience = new Audience(() => ({ docs: this.docs, state: this.#state, error: this.#error }));
    if (copy === undefined) return;
    if (snapshot) for (const row of copy.docs) this.#rows.set(keyOf(row.id), row);
    this.#position = copy.position;
    this.#view = copy.view;
    this.#state = "away";
  }

  get docs(): readonly Row[] {
    if (this.#position === undefined) return none;
    this.#docs ??= [...this.#rows.values()];
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
    if (!this.#wantsRows || this.#position === undefined || this.#view === undefined) return undefined;
    return { docs: this.docs, position: this.#position, view: this.#view };
  }

  get current(): LiveUpdate<Row> {
    return this.#audience.current;
  }

  readonly subscribe = (listener: (update: LiveUpdate<Row>) => void): (() => void) =>
    this.#audience.subscribe(listener);

  changes(): AsyncIterableIterator<Change<Row> | Reset<Row>> {
    return this.#audience.feed(this.#state === "ended" ? { error: this.#error } : undefined);
  }

  ready({ signal }: { signal?: AbortSignal } = {}): Promise<readonly Row[]> {
    return this.#until(() => (this.#state === "live" ? this.docs : undefined), signal);
  }

  async caughtUp(position: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (!positionPattern.test(position)) throw new TypeError(`not a position: ${JSON.stringify(position)}`);
    const isThere = (): true | undefined =>
      this.#state === "live" && (this.#position ?? "") >= position ? true : undefined;
    if (isThere()) return;
    const done = this.#wire.awaitProgress();
    await this.#until(isThere, signal).finally(done);
  }

  close(): void {
    this.end(undefined);
  }

  /** Asks for the rows, or for what was missed. */
  join(): void {
    clearTimeout(this.#retry);
    this.#isReady = false;
    this.#clearFirst = this.#position === undefined;
    const since = this.#position === undefined ? {} : { since: this.#position, view: this.#view };
    this.#wire.join({ ...this.#asked, ...since, ...(this.#wantsRows ? {} : { snapshot: false }) });
  }

  disconnected(): void {
    clearTimeout(this.#retry);
    this.#isReady = false;
    if (this.#state === "live") this.#become("away");
  }

  discard(): void {
    this.#reset("rule-changed");
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
      this.#gaps += 1;
      this.#joinLater(backoff(this.#gaps));
      return;
    }
    this.#position = change.position;
    // One that is empty only moves the position on.
    if (change.operation !== "delete" || change.data.length > 0) {
      if (this.#wantsRows) this.#apply(change);
      this.#audience.changed(change);
    }
    this.#look();
  }

  progress(position: string): void {
    if (!this.#isReady || position <= (this.#position ?? "")) return;
    this.#position = position;
    this.#look();
  }

  end(error: ClientError | undefined): void {
    if (this.#state === "ended") return;
    clearTimeout(this.#retry);
    this.#isReady = false;
    this.#wire.leave();
    this.#wire.forget();
    // What the gateway refuses may be what this user may not see any more.
    if (error !== undefined) this.#clear();
    this.#error = error;
    this.#become("ended");
    this.#audience.end(error);
  }

  #addRows(rows: readonly Row[]): void {
    // There is no position from here to `ready`: a snapshot that breaks off is not gone on from.
    if (this.#clearFirst) this.#clear();
    this.#clearFirst = false;
    if (this.#wantsRows) for (const row of rows) this.#rows.set(keyOf(row.id), row);
  }

  #ready({ view, position, recovered }: { view: string; position: string; recovered: boolean }): void {
    this.#isReady = true;
    this.#view = view;
    this.#refusals = 0;
    this.#error = undefined;
    if (!recovered) {
      if (this.#clearFirst) this.#clear();
      this.#docs = undefined;
      this.#position = position;
      this.#audience.replaced();
    }
    this.#clearFirst = false;
    this.#become("live");
    const reason = this.#reason;
    this.#reason = undefined;
    if (!recovered && reason !== undefined) this.#audience.reset({ operation: "reset", reason, docs: this.docs });
  }

  #reset(reason: ResetReason): void {
    this.#isReady = false;
    this.#clearFirst = true;
    this.#clear();
    this.#reason = reason;
    this.#audience.replaced();
    this.#become("joining");
  }

  #refused({ status, code, title, detail }: Extract<About, { type: "error" }>): void {
    const error = new ClientError(code, [title, detail].filter(Boolean).join(": "), { status });
    if (status !== unavailable) {
      this.end(error);
      return;
    }
    this.#error = error;
    this.#refusals += 1;
    this.#joinLater(pauseAfterRefusal(this.#refusals));
  }

  #joinLater(milliseconds: number): void {
    this.#isReady = false;
    this.#retry = setTimeout(() => this.join(), milliseconds);
    this.#become(this.#position === undefined ? "joining" : "away");
  }

  #apply(change: Change<Row>): void {
    this.#docs = undefined;
    if (change.operation === "delete") for (const id of change.data) this.#rows.delete(keyOf(id));
    else this.#rows.set(keyOf(change.data.id), change.data);
  }

  #clear(): void {
    this.#rows.clear();
    this.#docs = undefined;
    this.#position = undefined;
  }

  #become(state: LiveState): void {
    this.#state = state;
    this.#audience.tell();
    this.#look();
  }

  #look(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** @returns the first result that is not undefined */
  #until<Result>(find: () => Result | undefined, signal: AbortSignal | undefined): Promise<Result> {
    return new Promise((resolve, reject) => {
      const settle = (done: () => void): void => {
        this.#watchers.delete(look);
        signal?.removeEventListener("abort", look);
        done();
      };
      const look = (): void => {
        const found = find();
        if (found !== undefined) settle(() => resolve(found));
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
