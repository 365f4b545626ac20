import { expect } from "chai";
import fc from "fast-check";
import { type AnyBulkWriteOperation, BSON, type Collection, type Document } from "mongodb";
import { completeSort } from "../../src/api/page.js";
import { parseSort } from "../../src/filter/sort.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { getAll, getPage } from "./support.js";

const { Binary, BSONRegExp, BSONSymbol, Code, Decimal128, Double, Long, MaxKey, MinKey, ObjectId, Timestamp } = BSON;

const runs = Number(process.env.TAILGATE_PAGING_RUNS ?? 40);
const seed = Number(process.env.TAILGATE_PAGING_SEED ?? Math.trunc(Math.random() * 2 ** 31));

/** Few values of each type, so that many are equal and many are neighbours. */
const scalar = fc.constantFrom<unknown>(
  null,
  0,
  1,
  -1.5,
  new Double(Number.NaN),
  Number.NEGATIVE_INFINITY,
  Number.POSITIVE_INFINITY,
  Long.fromString("9007199254740993"),
  2 ** 60,
  Decimal128.fromString("1.0"),
  Decimal128.fromString("NaN"),
  "",
  "a",
  "b",
  "é",
  "😀",
  new BSONSymbol("aa"),
  new MinKey(),
  new MaxKey(),
  { x: 1 },
  { x: "1", y: [1] },
  {},
  new Binary(Buffer.from("a")),
  new Binary(Buffer.from("bb"), 4),
  new ObjectId("000000000000000000000001"),
  new ObjectId("000000000000000000000002"),
  false,
  true,
  new Date(0),
  new Date(1_700_000_000_000),
  new Timestamp({ t: 1, i: 1 }),
  new BSONRegExp("a", "i"),
  new Code("a"),
);
const array = fc.array(fc.oneof(scalar, fc.constantFrom<unknown>([1, 2], [], ["a"])), { maxLength: 3 });
const field = fc.oneof(
  { weight: 6, arbitrary: scalar },
  { weight: 2, arbitrary: fc.constantFrom<unknown>(1, 2, 3, "a") },
  { weight: 2, arbitrary: array },
);
const inner = fc.oneof(
  fc.record({ c: field }, { requiredKeys: [] }),
  // Elements without the field count as null in MongoDB, which not every server in use does.
  fc.array(fc.record({ c: scalar }), { minLength: 1, maxLength: 2 }),
  fc.constantFrom<unknown>(null, 5, "text", { c: null }),
);
const id = fc.oneof(
  fc.integer({ min: 0, max: 9 }),
  fc.constantFrom<unknown>("a", "b", new ObjectId("00000000000000000000000a"), { k: 1 }, { k: 2 }, { j: 1 }, true),
  fc.date({ min: new Date(0), max: new Date(5), noInvalidDate: true }),
);
const documents = fc.uniqueArray(fc.record({ _id: id, a: field, b: field, in: inner }, { requiredKeys: ["_id"] }), {
  minLength: 1,
  maxLength: 25,
  selector: ({ _id }) => BSON.EJSON.stringify({ _id }, { relaxed: false }),
});
const sorts = fc.constantFrom(
  "",
  "a",
  "-a",
  "b,a",
  "-b,a",
  "a,-b",
  "in.c",
  "-in.c",
  "in.c,-a",
  "-id",
  "a,id",
  "-a,-b,in.c",
);

describe("paging", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let rows: Collection<Document>;

  before(async () => {
    database = await freshDatabase();
    rows = database.db.collection("rows");
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        rows: { read: true },
        slim: { read: true, collection: "rows", fields: ["in.c"], filterable: ["a"] },
      },
    });
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });
  beforeEach(() => rows.deleteMany({}));

  it(`gives exactly the sorted list, whatever is in its keys (seed ${seed})`, async function () {
    this.timeout(30_000 + runs * 2_000);
    const property = fc.asyncProperty(documents, sorts, fc.integer({ min: 1, max: 3 }), async (some, sort, limit) => {
      await rows.deleteMany({});
      await rows.insertMany(some as Document[]);
      const expected = await rows.find({}, { sort: new Map(completeSort(parseSort(sort))) }).toArray();
      const parameters = { ...(sort !== "" && { sort }), limit: String(limit), fields: "id" };
      const paged = await getAll(gateway.url, "rows", parameters);
      const whole = await getPage(gateway.url, "rows", { ...parameters, limit: "1000" });
      expect(whole.data.length, "one page with all").to.equal(expected.length);
      expect(paged).to.deep.equal(whole.data);
      expect(paged.map((row) => JSON.stringify(row.id))).to.deep.equal(expected.map((row) => shown(row._id)));
    });
    await fc.assert(property, { numRuns: runs, seed });
  });

  it("neither skips nor repeats a row that keeps its keys while others are inserted, updated and deleted (hazard 18)", async function () {
    this.timeout(90_000);
    const stable = Array.from({ length: 60 }, (_, index) => ({
      _id: `stable ${index}`,
      a: index % 7 === 0 ? null : index % 5 === 0 ? "text" : index % 11,
    }));
    const moving = Array.from({ length: 60 }, (_, index) => ({ _id: `moving ${index}`, a: index }));
    await rows.insertMany([...stable, ...moving] as unknown as Document[]);
    let writes = 0;
    const write = async (): Promise<void> => {
      const operations: AnyBulkWriteOperation[] = [];
      for (let count = 0; count < 6; count += 1) {
        writes += 1;
        const filter = { _id: `moving ${(writes * 17) % 60}` } as unknown as Document;
        const update = { $set: { a: (writes * 31) % 60 } };
        if (writes % 3 === 0) operations.push({ deleteOne: { filter } });
        else if (writes % 3 === 1) operations.push({ updateOne: { filter, update, upsert: true } });
        else
          operations.push({ insertOne: { document: { _id: `new ${writes}`, a: writes % 13 } as unknown as Document } });
        const kept = { _id: stable[writes % 60]?._id } as unknown as Document;
        operations.push({ updateOne: { filter: kept, update: { $inc: { other: 1 } } } });
      }
      await rows.bulkWrite(operations, { ordered: false });
    };
    for (const sort of ["a", "-a", "a,-id"]) {
      const seen = await getAll(gateway.url, "rows", { sort, limit: "7", fields: "id" }, write);
      const stableSeen = seen.map((row) => String(row.id)).filter((each) => each.startsWith("stable"));
      expect([...stableSeen].sort(), `sorted by ${sort}`).to.deep.equal(stable.map((row) => row._id).sort());
    }
    expect(writes).to.be.greaterThan(80);
  });

  it("sorts and pages by paths that are not shown, and still does not show them", async () => {
    await rows.insertMany([{ a: 3 }, { a: 1, in: { c: 9, d: 1 } }, { a: 2, in: [1, { c: 8, d: 1 }] }]);
    const seen = await getAll(gateway.url, "slim", { sort: "-a", limit: "1" });
    expect(seen.map(({ id: _, ...rest }) => rest)).to.deep.equal([{}, { in: [{ c: 8 }] }, { in: { c: 9 } }]);
  });

  it("ends a page at 8 MB of rows, whatever its limit", async () => {
    const text = "x".repeat(1_000_000);
    for (let index = 0; index < 20; index += 1) await rows.insertOne({ _id: index, text } as unknown as Document);
    const sizes: number[] = [];
    const seen = await getAll(gateway.url, "rows", { limit: "1000" }, async (page) => sizes.push(page.data.length));
    expect(seen.map((row) => row.id)).to.deep.equal(Array.from({ length: 20 }, (_, index) => index));
    expect(sizes).to.deep.equal([7, 7, 6]);
  });

  it("refuses the cursor of another query, and what is no cursor", async () => {
    await rows.insertMany([{ a: 1 }, { a: 2 }, { a: 3 }]);
    const { next } = await getPage(gateway.url, "rows", { sort: "a", limit: "1" });
    const cursor = next ?? "";
    const others: Record<string, string>[] = [
      { sort: "-a" },
      { sort: "a", filter: '{"a":{"$gt":0}}' },
      { sort: "a", fields: "b" },
      {},
      ...["x", "e30", `${cursor}AAAA`, cursor.slice(2), "%00", ""].map((bad) => ({ sort: "a", cursor: bad })),
    ];
    for (const parameters of others) {
      const query = new URLSearchParams({ cursor, ...parameters });
      const response = await fetch(`${gateway.url}/api/rows?${query}`);
      const { code } = (await response.json()) as { code: string };
      expect([response.status, code], String(query)).to.deep.equal([400, "bad-cursor"]);
    }
    expect(
      (await getPage(gateway.url, "rows", { sort: "a", limit: "2", cursor })).data.map((row) => row.a),
    ).to.deep.equal([2, 3]);
  });

  it("takes a forged cursor for a place to begin and for nothing else", async () => {
    await rows.insertMany([{ a: 1 }, { a: 2 }, { a: 3 }]);
    const { next } = await getPage(gateway.url, "rows", { sort: "a", limit: "1" });
    const honest = BSON.deserialize(Buffer.from(next ?? "", "base64url"));
    const forged: unknown[] = [
      { $gt: 0 },
      { $where: "sleep(1000) || true" },
      { $ne: null },
      [],
      [{ $gt: 1 }],
      new BSONRegExp("(a+)+$"),
      new Code("while(true){}"),
      new MinKey(),
      new MaxKey(),
      undefined,
      new BSON.DBRef("rows", new ObjectId()),
    ];
    for (const value of forged) {
      const values = [{ v: value }, { v: value }];
      const bytes = BSON.serialize({ q: honest.q, v: values }, { ignoreUndefined: true });
      const page = await getPage(gateway.url, "rows", {
        sort: "a",
        cursor: Buffer.from(bytes).toString("base64url"),
      });
      const found = page.data.map((row) => row.a);
      // All of the rows hold numbers, so a value of another type is before them all or after them all.
      expect([[], [1, 2, 3]].map(String), BSON.EJSON.stringify({ value })).to.include(String(found));
    }
    const tooFew = BSON.serialize({ q: honest.q, v: [{ v: 1 }] });
    const response = await fetch(`${gateway.url}/api/rows?sort=a&cursor=${Buffer.from(tooFew).toString("base64url")}`);
    expect(response.status).to.equal(400);
  });

  it("says so where a row's sort values are too long for a cursor", async () => {
    await rows.insertMany([{ a: "x".repeat(10_000) }, { a: "y" }]);
    const response = await fetch(`${gateway.url}/api/rows?sort=a&limit=1`);
    expect([response.status, ((await response.json()) as { code: string }).code]).to.deep.equal([
      400,
      "unpageable-sort",
    ]);
  });
});

function shown(value: unknown): string {
  if (value instanceof ObjectId) return JSON.stringify(value.toHexString());
  return JSON.stringify(value);
}
