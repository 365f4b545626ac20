import { setTimeout as sleep } from "node:timers/promises";
import type { AnyBulkWriteOperation, ClientSession, Collection, Db, MongoClient } from "mongodb";
import { type CollectionName, isExact, randomContents, type Stamped, stamped } from "./documents.js";
import type { Ledger } from "./ledger.js";
import type { Random } from "./random.js";

/** One change of one document: what it becomes, undefined to remove it. */
interface Step {
  readonly collection: CollectionName;
  readonly id: string;
  readonly before: Stamped | undefined;
  readonly after: Stamped | undefined;
  readonly replaces: boolean;
}

export interface WriterOptions {
  readonly number: number;
  readonly client: MongoClient;
  readonly db: Db;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly collections: readonly CollectionName[];
  readonly pauseMilliseconds: number;
  /** How often many documents are written at once, beside 100 writes of a few. */
  readonly bursts: number;
  /** Documents that it begins with in each collection. */
  readonly initialDocuments: number;
  /** What most bodies are padded with, at the most; 0 for none. */
  readonly paddingKilobytes: number;
}

/** Beyond this many documents it rather removes than inserts. */
const mostDocuments = 60;
const longestPadding = "x".repeat(1_000_000);

/**
 * Writes its own documents, one operation after another, so that it always knows what they are. After an error it reads
 * what came of the operation.
 */
export class Writer {
  readonly #options: WriterOptions;
  readonly #documents = new Map<string, { collection: CollectionName; document: Stamped }>();
  /** Ids that were removed and may come back. */
  readonly #removed: { collection: CollectionName; document: Stamped }[] = [];
  #inserted = 0;
  #version = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /** Writes what there is before anybody looks. */
  async begin(): Promise<void> {
    const { collections, initialDocuments } = this.#options;
    for (const collection of new Set(collections))
      await this.#apply(
        Array.from({ length: initialDocuments }, () => this.#insert(collection)),
        false,
      );
  }

  /** @param turn - takes one operation at a time, and may hold it back */
  async run(signal: AbortSignal, turn: (operation: () => Promise<void>) => Promise<void>): Promise<void> {
    const { random, pauseMilliseconds } = this.#options;
    while (!signal.aborted) {
      await turn(() => this.#write());
      await sleep(random.below(2 * pauseMilliseconds + 1));
    }
  }

  /** The collection has been dropped: what was in it is no more. */
  forget(collection: CollectionName): void {
    for (const [id, found] of this.#documents) if (found.collection === collection) this.#documents.delete(id);
    const kept = this.#removed.filter((each) => each.collection !== collection);
    this.#removed.splice(0, this.#removed.length, ...kept);
  }

  /** Inserts one document that everybody sees who may see all of the collection. */
  async sentinel(collection: CollectionName): Promise<string> {
    const step = this.#insert(collection, { canary: false });
    await this.#apply([step], false);
    return step.id;
  }

  async #write(): Promise<void> {
    const { random, bursts } = this.#options;
    const isFull = this.#documents.size > mostDocuments;
    const kind = random.weighted({
      one: 60,
      few: 8,
      many: bursts,
      transaction: 6,
      insert: isFull ? 0 : 20,
      remove: isFull ? 20 : 8,
    });
    if (kind === "insert") return this.#apply([this.#insert(random.pick(this.#options.collections))], false);
    if (kind === "remove")
      return this.#apply(
        this.#distinct(1, () => this.#remove()),
        false,
      );
    if (kind === "one") return this.#apply(this.#distinct(1), false);
    if (kind === "many") return this.#apply(this.#many(isFull), false);
    const steps = this.#distinct(1 + random.below(8));
    if (kind === "transaction") return this.#apply(steps, true);
    // A bulk write is of one collection.
    return this.#apply(
      steps.filter(({ collection }) => collection === steps[0]?.collection),
      false,
    );
  }

  /** Inserts or removals, which the server does as one. */
  #many(isFull: boolean): Step[] {
    const collection = this.#options.random.pick(this.#options.collections);
    if (!isFull) return Array.from({ length: 40 }, () => this.#insert(collection));
    return this.#distinct(40, () => this.#remove()).filter((step) => step.collection === collection);
  }

  /** Steps of different documents. */
  #distinct(count: number, next = (): Step | undefined => this.#step()): Step[] {
    const steps = new Map<string, Step>();
    for (let index = 0; index < count; index++) {
      const step = next();
      if (step !== undefined) steps.set(step.id, step);
    }
    return [...steps.values()];
  }

  #step(): Step | undefined {
    const { random, collections } = this.#options;
    const kind = random.weighted({ insert: 25, set: 40, move: 20, replace: 5, remove: 10, comeBack: 5 });
    if (this.#documents.size === 0 || kind === "insert") return this.#insert(random.pick(collections));
    if (kind === "remove") return this.#remove();
    if (kind === "comeBack") return this.#comeBack();
    const { collection, document } = random.pick([...this.#documents.values()]);
    const { score, tags, at, ...rest } = randomContents(random);
    // Most updates leave it in its views, some move it.
    const contents = {
      ...document,
      score,
      ...(random.chance(0.5) ? { tags, at } : {}),
      ...(kind === "set" ? {} : rest),
    };
    return this.#change(collection, document, contents, kind === "replace" || isExact(collection));
  }

  #change(collection: CollectionName, document: Stamped, contents: Stamped, replaces: boolean): Step {
    const { _id, w, n } = document;
    const after = stamped({ _id, w, n }, ++this.#version, contents, this.#padding());
    return { collection, id: _id, before: document, after, replaces };
  }

  #insert(collection: CollectionName, fixed: Partial<Stamped> = {}): Step {
    const { number, random } = this.#options;
    const n = ++this.#inserted;
    const _id = `id-${collection}-${number}-${n}-${random.below(36 ** 4).toString(36)}`;
    const contents = { ...randomContents(random), ...fixed };
    const after = stamped({ _id, w: number, n }, ++this.#version, contents, this.#padding());
    return { collection, id: _id, before: undefined, after, replaces: false };
  }

  #remove(): Step | undefined {
    if (this.#documents.size === 0) return undefined;
    const { collection, document } = this.#options.random.pick([...this.#documents.values()]);
    return { collection, id: document._id, before: document, after: undefined, replaces: false };
  }

  #comeBack(): Step | undefined {
    if (this.#removed.length === 0) return undefined;
    const { random } = this.#options;
    const { collection, document } = random.pick(this.#removed);
    if (this.#documents.has(document._id)) return undefined;
    const { _id, w, n } = document;
    const after = stamped({ _id, w, n }, ++this.#version, randomContents(random), this.#padding());
    return { collection, id: _id, before: undefined, after, replaces: false };
  }

  #padding(): string {
    const { random, paddingKilobytes } = this.#options;
    // Where there is none, nothing is drawn: a seed goes on meaning what it did.
    if (paddingKilobytes === 0 || random.chance(0.3)) return "";
    return longestPadding.slice(0, random.below(paddingKilobytes * 1_000));
  }

  async #apply(steps: readonly Step[], inTransaction: boolean): Promise<void> {
    const { client, ledger } = this.#options;
    for (const { collection, after } of steps) if (after !== undefined) ledger.intend(collection, after);
    try {
      if (inTransaction)
        await client.withSession((session) => session.withTransaction(() => this.#send(steps, session)));
      else await this.#send(steps);
    } catch {
      // The database is away. What came of it is read, for the copies of clients will be compared with it.
      for (const step of steps) await this.#settle(step);
      return;
    }
    for (const step of steps) this.#keep(step);
  }

  async #send(steps: readonly Step[], session?: ClientSession): Promise<void> {
    const byCollection = new Map<CollectionName, AnyBulkWriteOperation<Stamped>[]>();
    for (const step of steps) {
      const operations = byCollection.get(step.collection) ?? [];
      byCollection.set(step.collection, operations);
      operations.push(operationOf(step));
    }
    for (const [collection, operations] of byCollection) {
      await this.#collection(collection).bulkWrite(operations, session === undefined ? {} : { session });
    }
  }

  async #settle(step: Step): Promise<void> {
    for (;;) {
      try {
        const found = await this.#collection(step.collection).findOne({ _id: step.id });
        if (found?.v === step.after?.v) this.#keep(step);
        else if (found?.v !== step.before?.v)
          throw new RangeError(`${step.id} is at ${found?.v}, written by somebody else`);
        return;
      } catch (error) {
        if (error instanceof RangeError) throw error;
        await sleep(100);
      }
    }
  }

  #keep({ collection, id, before, after }: Step): void {
    this.#options.ledger.done(id, after);
    if (after !== undefined) this.#documents.set(id, { collection, document: after });
    else {
      this.#documents.delete(id);
      if (before !== undefined) this.#removed.push({ collection, document: before });
    }
  }

  #collection(name: CollectionName): Collection<Stamped> {
    return this.#options.db.collection<Stamped>(name);
  }
}

function operationOf({ id, before, after, replaces }: Step): AnyBulkWriteOperation<Stamped> {
  const filter = { _id: id };
  if (after === undefined) return { deleteOne: { filter } };
  if (before === undefined) return { insertOne: { document: after } };
  if (replaces) return { replaceOne: { filter, replacement: after } };
  const changed = Object.entries(after).filter(([key, value]) => before[key as keyof Stamped] !== value);
  return { updateOne: { filter, update: { $set: Object.fromEntries(changed) } } };
}
