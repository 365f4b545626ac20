import { Timestamp } from "mongodb";
import type { Database } from "../database.js";
import { formatPosition, ordinals } from "../position.js";
import { unlessAborted } from "../retry.js";
import { timeOf, timeOfToken } from "./change.js";
import { recoveryFrom } from "./failure.js";
import type { Oplog } from "./oplog.js";
import type { RawBatch } from "./stream.js";

/** How much history is read again at the start, and how long that may hold the start up. */
const refillSeconds = 60;
const refillMilliseconds = 10_000;

export interface RefillOptions {
  database: Pick<Database, "db" | "support" | "tag">;
  oplog: Pick<Oplog, "firstEntry">;
  signal: AbortSignal;
}

/** Clients that return after a restart are served from memory: the newest history is read again at the start. */
export class Refill {
  readonly #options: RefillOptions;
  /** Where the history that is read again begins, unless the oplog is shorter; undefined where none is. */
  #from: Timestamp | undefined;
  #until = "";
  #beganAt = performance.now();

  constructor(options: RefillOptions) {
    this.#options = options;
  }

  get from(): Timestamp | undefined {
    return this.#from;
  }

  /** @throws the driver's errors */
  async begin(): Promise<void> {
    const { database } = this.#options;
    const now = await this.currentTime();
    const from = new Timestamp({ t: timeOf(now).seconds - refillSeconds, i: 1 });
    const first = database.support.isMongodb ? await this.#firstEntryIfKnown() : undefined;
    this.#from = first?.greaterThan(from) ? first : from;
    this.#until = formatPosition({ ...timeOf(now), ordinal: ordinals.before, tag: database.tag });
    this.#beganAt = performance.now();
  }

  /** The stream begins at the current time instead. */
  giveUp(): void {
    this.#from = undefined;
  }

  /**
   * @param batch - the last one that was dispatched
   * @param head - the place up to which everything has been dispatched
   * @returns whether the newest history has been read again, or takes too long
   */
  isOver(batch: RawBatch, head: string | undefined): boolean {
    const { database } = this.#options;
    if (this.#from === undefined || performance.now() - this.#beganAt > refillMilliseconds) return true;
    if (head !== undefined && head >= this.#until) return true;
    // SecantusDB sends an empty batch also where there is more to read, and says by its token how far that has come.
    const time = database.support.isMongodb ? undefined : timeOfToken(batch.token);
    const isBehind = time !== undefined && formatPosition({ ...time, ordinal: 0, tag: database.tag }) < this.#until;
    return !batch.isOpening && batch.events.length === 0 && !isBehind;
  }

  /** @throws the driver's errors */
  async currentTime(): Promise<Timestamp> {
    const { database, signal } = this.#options;
    const { operationTime } = await unlessAborted(database.db.command({ hello: 1 }), signal);
    return operationTime as Timestamp;
  }

  /** MongoDB's own server says by itself where its oplog is shorter than that. */
  async #firstEntryIfKnown(): Promise<Timestamp | undefined> {
    const { oplog, signal } = this.#options;
    try {
      return await unlessAborted(oplog.firstEntry(), signal);
    } catch (error) {
      if (signal.aborted || recoveryFrom(error) === "resume") throw error;
      return undefined;
    }
  }
}
