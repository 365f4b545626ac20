import { expect } from "chai";
import fc from "fast-check";
import { BSON, type Collection, type Document, MongoServerError } from "mongodb";
import { secantusSetName } from "../../replica-set/secantus.mjs";
import { RequestError } from "../../src/errors.js";
import { compileFilter } from "../../src/filter/compile.js";
import { equalityOf, indexKey, indexKeysAt } from "../../src/filter/equality.js";
import { type Filter, parseFilter } from "../../src/filter/parse.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { deviations } from "./deviations.js";
import { batches } from "./generators.js";

/** Pairs of a document and a filter in one run. */
const pairs = Number(process.env.TAILGATE_ORACLE_PAIRS ?? 5_000);
const seed = Number(process.env.TAILGATE_ORACLE_SEED ?? Math.trunc(Math.random() * 2 ** 31));
const documentsAtOnce = 25;
const filtersAtOnce = 10;

/** How a document can reach the matcher: with numbers and others promoted by the driver, or as the BSON classes. */
const readings = {
  promoted: { bsonRegExp: true },
  unpromoted: { promoteValues: false, bsonRegExp: true },
} as const;

describe("the matcher against the server", () => {
  let database: SpecDatabase;
  let collection: Collection<Document>;
  const answered = { true: 0, false: 0 };

  before(async () => {
    database = await freshDatabase();
    collection = database.db.collection("oracle");
  });

  after(async () => {
    await database.dispose();
  });

  it(`gives the answer of find for ${pairs} generated pairs of a document and a filter (seed ${seed})`, async function () {
    this.timeout(60_000 + pairs * 20);
    const property = fc.asyncProperty(batches(documentsAtOnce, filtersAtOnce), async ([documents, filters]) => {
      expect(await firstDifference(documents, filters)).to.equal(undefined);
    });
    const numRuns = Math.ceil(pairs / documentsAtOnce / filtersAtOnce);
    const result = await fc.check(property, { numRuns, seed, endOnFailure: true });
    if (!result.failed) {
      const asked = answered.true + answered.false;
      expect(asked, "pairs whose filter was accepted").to.be.above(pairs * 0.6);
      expect(answered.true / asked, "share of pairs that match").to.be.within(0.1, 0.9);
      return;
    }
    const [documents, filters] = result.counterexample?.[0] ?? [[], []];
    throw new Error(`With the seed ${seed}: ${await smallestDifference(documents, filters)}`);
  });

  for (const { what, document, filter, answer, unpromoted } of deviations) {
    it(`is right, and SecantusDB is not: ${what}: ${ejson(filter)} on ${ejson(document)} is ${answer}`, async () => {
      const parsed = accepted(filter);
      if (parsed === undefined) throw new Error("the filter is refused");
      for (const [how, mine] of Object.entries(answersOf(parsed, { _id: 0, ...document }))) {
        if (unpromoted !== true || how.includes("classes")) expect(mine, how).to.equal(answer);
      }
      await collection.deleteMany({});
      await collection.insertOne({ ...document, _id: 0 } as Document);
      const found = await idsOf(parsed.filter.query);
      const { setName } = await database.db.admin().command({ hello: 1 });
      const agrees = !(found instanceof Error) && found.has(0) === answer;
      // Where the other server comes to agree, the generators have a reason less to leave the case out.
      expect(agrees, "the server agrees").to.equal(setName !== secantusSetName);
    });
  }

  /** Inserts the documents, runs each filter once, and looks for one that the matcher answers differently. */
  async function firstDifference(
    documents: readonly Document[],
    inputs: readonly Document[],
  ): Promise<string | undefined> {
    await collection.deleteMany({});
    if (documents.length > 0)
      await collection.insertMany(documents.map((document, _id): Document => ({ ...document, _id })));
    for (const input of inputs) {
      const parsed = accepted(input);
      if (parsed === undefined) continue;
      const found = await idsOf(parsed.filter.query);
      if (found instanceof Error) return `find fails with ${found.message}\n  filter ${ejson(input)}`;
      answered.true += found.size;
      answered.false += documents.length - found.size;
      for (const [index, document] of documents.entries()) {
        const answers = answersOf(parsed, { ...document, _id: index });
        for (const [how, answer] of Object.entries(answers)) {
          if (answer !== found.has(index)) {
            return `${how} says ${answer}, find says ${found.has(index)}\n  document ${ejson(document)}\n  filter ${ejson(input)}`;
          }
        }
      }
    }
    return undefined;
  }

  async function idsOf(query: Document): Promise<ReadonlySet<number> | MongoServerError> {
    try {
      const found = await collection.find(query, { projection: { _id: 1 } }).toArray();
      return new Set(found.map(({ _id }) => Number(_id)));
    } catch (error) {
      if (error instanceof MongoServerError) return error;
      throw error;
    }
  }

  /** One document and one filter that differ, each as small as it gets by leaving parts out. */
  async function smallestDifference(documents: readonly Document[], filters: readonly Document[]): Promise<string> {
    let pair = { document: {} as Document, input: {} as Document };
    for (const document of documents) {
      for (const input of filters) {
        if ((await firstDifference([document], [input])) !== undefined) pair = { document, input };
      }
    }
    for (let smaller: typeof pair | undefined = pair; smaller !== undefined; ) {
      pair = smaller;
      smaller = undefined;
      const candidates = [
        ...smallerOnes(pair.document).map((document) => ({ ...pair, document: document as Document })),
        ...smallerOnes(pair.input).map((input) => ({ ...pair, input: input as Document })),
      ];
      for (const candidate of candidates) {
        if ((await firstDifference([candidate.document], [candidate.input]).catch(() => undefined)) === undefined)
          continue;
        smaller = candidate;
        break;
      }
    }
    return (await firstDifference([pair.document], [pair.input])) ?? "the difference did not show again";
  }
});

interface Accepted {
  readonly filter: Filter;
  /** Whether the filter can be answered where numbers are promoted. */
  readonly promoted: boolean;
}

function accepted(input: Document): Accepted | undefined {
  const parsed = tryParse(input, true);
  return parsed && { filter: parsed, promoted: tryParse(input, false) !== undefined };
}

/** @returns undefined for what is refused, which has specs of its own; only with `code`, where it is given */
function tryParse(input: Document, exactNumberTypes: boolean, code?: string): Filter | undefined {
  try {
    return parseFilter(input, { exactNumberTypes });
  } catch (error) {
    if (error instanceof RequestError && (code === undefined || error.code === code)) return undefined;
    throw error;
  }
}

/** The answers for a document, by every way that there is to get one. */
function answersOf({ filter: parsed, promoted }: Accepted, document: Document): Record<string, boolean> {
  const bytes = BSON.serialize(document);
  const matches = compileFilter(parsed);
  const unpromoted = BSON.deserialize(bytes, readings.unpromoted);
  const answers: Record<string, boolean> = { "the matcher on BSON classes": matches(unpromoted) };
  if (!promoted) return answers;
  const plain = BSON.deserialize(bytes, readings.promoted);
  answers["the matcher on promoted values"] = matches(plain);
  const again = tryParse(JSON.parse(parsed.canonical), false, "filter-too-deep");
  if (again !== undefined) {
    answers["the matcher after canonical text"] = again.canonical === parsed.canonical && compileFilter(again)(plain);
  }
  const equality = equalityOf(parsed);
  if (equality !== undefined) {
    const wanted = new Set(equality.values.map(indexKey));
    const found = indexKeysAt(equality.path)(plain).some((key) => wanted.has(key));
    answers["the look-up by one equality"] = found && compileFilter(equality.rest)(plain);
  }
  return answers;
}

/** Copies of a value with one part left out or put in the place of the whole. */
function smallerOnes(value: unknown): unknown[] {
  if (Array.isArray(value)) {
    return value.flatMap((each, index) => [
      value.toSpliced(index, 1),
      ...smallerOnes(each).map((smaller) => value.with(index, smaller)),
    ]);
  }
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return [];
  return Object.entries(value).flatMap(([key, each]) => {
    const { [key]: _, ...others } = value as Document;
    const inside = typeof each === "object" && each !== null && /^\$(?:not|and|or)$/.test(key) ? [each].flat() : [];
    return [others, ...inside, ...smallerOnes(each).map((smaller) => ({ ...value, [key]: smaller }))];
  });
}

function ejson(value: unknown): string {
  return BSON.EJSON.stringify(value, { relaxed: false });
}
