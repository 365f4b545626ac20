import { expect } from "chai";
import { Binary, BSON, Long } from "mongodb";
import { connectClient, type TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

type Item = { _id: number; [field: string]: unknown };

describe("the watcher's events", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let client: TestClient;

  const start = async (fields?: string[]): Promise<void> => {
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true, ...(fields === undefined ? {} : { fields }) }, others: { read: true } },
    });
    client = await connectClient(gateway.websocketUrl);
  };
  const items = () => database.db.collection<Item>("items");
  const withImages = () => database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });

  beforeEach(async () => {
    database = await freshDatabase();
  });
  afterEach(async () => {
    await client.close();
    await gateway.stop();
    await database.dispose();
  });

  describe("that void what clients hold (hazard 8)", () => {
    for (const [name, act] of [
      ["drop of a collection", () => items().drop()],
      ["rename of a collection", () => items().rename("elsewhere")],
      ["rename onto a collection", () => database.db.collection("spare").rename("items", { dropTarget: true })],
      ["drop of the database", () => database.db.dropDatabase()],
    ] as const) {
      it(`close plain connections with 4510 after a ${name}, and later changes follow`, async () => {
        await items().insertOne({ _id: 1 });
        await database.db.collection("spare").insertOne({ n: 1 });
        await start();
        await act();
        expect((await client.closed).code).to.equal(4510);
        client = await connectClient(gateway.websocketUrl);
        await items().insertOne({ _id: 2 });
        expect(await client.next()).to.deep.equal({ interface: "items", operation: "insert", data: { id: 2 } });
      });
    }

    it("leave connections alone that follow other interfaces only", async () => {
      await items().insertOne({ _id: 1 });
      await start();
      const other = await connectClient(`${gateway.websocketUrl}?interfaces=others`);
      await items().drop();
      expect((await client.closed).code).to.equal(4510);
      await database.db.collection<{ _id: number }>("others").insertOne({ _id: 7 });
      expect(await other.next()).to.deep.include({ interface: "others", data: { id: 7 } });
      await other.close();
    });
  });

  it("may be of kinds that change no document, or of collections that are not configured (hazard 9)", async () => {
    await start();
    await database.db.createCollection("items");
    await items().createIndex({ n: 1 });
    await database.db.command({ collMod: "items", changeStreamPreAndPostImages: { enabled: true } });
    await items().dropIndex("n_1");
    await database.db.collection("secret").insertOne({ hidden: true });
    await items().insertOne({ _id: 1 });
    expect(await client.next()).to.deep.equal({ interface: "items", operation: "insert", data: { id: 1 } });
  });

  describe("and images", () => {
    it("say nothing where the representation did not change", async () => {
      await withImages();
      await start(["state"]);
      await items().insertOne({ _id: 1, state: "a", hidden: 1 });
      await items().updateOne({ _id: 1 }, { $set: { hidden: 2 } });
      await items().replaceOne({ _id: 1 }, { state: "a", hidden: 3 });
      await items().updateOne({ _id: 1 }, { $set: { state: "b" } });
      const messages = await client.until((message) => (message.data as { state?: string }).state === "b");
      expect(messages.map((message) => message.operation)).to.deep.equal(["insert", "update"]);
    });

    it("say nothing of hidden fields where there are no images", async () => {
      await start(["state"]);
      await items().insertOne({ _id: 1, state: "a", hidden: 1 });
      await client.next();
      await items().updateOne({ _id: 1 }, { $set: { hidden: 2 } });
      await items().updateOne({ _id: 1 }, { $set: { state: "b" } });
      expect(await client.next()).to.deep.equal({
        interface: "items",
        operation: "update",
        data: { id: 1, state: "b" },
      });
    });

    it("may be missing or switched off at any moment (hazard 11)", async () => {
      await withImages();
      await start();
      await items().insertOne({ _id: 1, n: 1 });
      await client.next();
      await database.db.command({ collMod: "items", changeStreamPreAndPostImages: { enabled: false } });
      await items().updateOne({ _id: 1 }, { $set: { n: 2 } });
      expect(await client.next()).to.deep.equal({ interface: "items", operation: "update", data: { id: 1, n: 2 } });
    });
  });

  it("may hold what JavaScript can't read: a pattern of its own, bytes that are no UTF-8, a toJSON (hazard 12)", async () => {
    await start();
    await items().insertOne({ _id: 1, pattern: new BSON.BSONRegExp("b*+", "i") });
    await insertRaw(database, "items", Buffer.from([0x02, 0x61, 0, 3, 0, 0, 0, 0xff, 0x62, 0]));
    await items().insertOne({ _id: 3, toJSON: "x" });
    await items().insertOne({ _id: 4 });
    const messages = await client.until((message) => (message.data as { id: number }).id === 4);
    expect(messages[0]?.data).to.deep.equal({ id: 1, pattern: "/b*+/i" });
    expect(messages[1]?.data).to.deep.equal({ id: 2, a: "\uFFFDb" });
    expect(messages[2]?.data).to.deep.equal({ id: 3, toJSON: "x" });
  });

  it("may have an id whose order of keys is none that JavaScript has", async () => {
    await start(["n"]);
    const inner = new Map<string, unknown>([
      ["z", [new Map([["y", Long.fromNumber(1)]]), null, 1.5]],
      ["0", "text"],
    ]);
    const _id = new Map<string, unknown>([
      ["b", 1],
      ["1", inner],
    ]) as unknown as number;
    await items().insertOne({ _id, n: 0 });
    await client.next();
    await items().updateOne({ n: 0 }, { $set: { n: 1 } });
    expect(await client.next()).to.deep.include({ operation: "update" });
  });

  it("over 16 MB come whole where the server splits them (hazard 7)", async function () {
    this.timeout(120_000);
    await withImages();
    await items().insertOne({ _id: 1, data: new Binary(Buffer.alloc(10_000_000, 1)) });
    await start(["n", "length"]);
    await items().updateOne({ _id: 1 }, { $set: { data: new Binary(Buffer.alloc(10_000_000, 2)), n: 1 } });
    expect(await client.next(60_000)).to.deep.equal({ interface: "items", operation: "update", data: { id: 1, n: 1 } });
    await items().insertOne({ _id: 2, n: 2 });
    expect(await client.next(60_000)).to.deep.include({ data: { id: 2, n: 2 } });
  });

  it("of a deletion of 10,000 documents come as lists", async () => {
    await items().insertMany(Array.from({ length: 10_000 }, (_, n) => ({ _id: n })));
    await start();
    await items().deleteMany({});
    const ids: unknown[] = [];
    let messages = 0;
    while (ids.length < 10_000) {
      const message = await client.next(30_000);
      // A slow machine may still be at the inserts of before.
      if (message.operation === "insert") continue;
      expect(message.operation).to.equal("delete");
      ids.push(...(message.data as unknown[]));
      messages += 1;
    }
    expect(ids).to.deep.equal(Array.from({ length: 10_000 }, (_, n) => n));
    expect(messages).to.be.lessThan(200);
  }).timeout(60_000);
});

describe("the watcher's events", () => {
  it("of one transaction come in their order, each once, through a kill -9 midway (hazard 14)", async () => {
    const server: OwnServer = await startOwnServer();
    const own = await freshDatabase(server);
    const count = 2_000;
    const second = await startTestGateway({ mongo: own.uri, interfaces: { items: { read: true } } });
    const follower = await connectClient(second.websocketUrl);
    try {
      const session = own.client.startSession();
      await session.withTransaction(async () => {
        for (let from = 0; from < count; from += 1_000) {
          const documents = Array.from({ length: 1_000 }, (_, n) => ({ _id: from + n }));
          await own.db.collection<{ _id: number }>("items").insertMany(documents, { session });
        }
      });
      await session.endSession();
      await follower.next(30_000);
      await server.restart();
      const rest = await follower.take(count - 1, 60_000);
      expect(rest.map((message) => (message.data as { id: number }).id)).to.deep.equal(
        Array.from({ length: count - 1 }, (_, n) => n + 1),
      );
    } finally {
      await follower.close();
      await second.stop();
      await own.dispose();
      await server.dispose();
    }
  }).timeout(120_000);
});

/** Inserts a document whose bytes the driver itself would refuse to write: `_id` 2 and the given element. */
async function insertRaw(database: SpecDatabase, collection: string, element: Buffer): Promise<void> {
  const id = Buffer.from([0x10, 0x5f, 0x69, 0x64, 0, 2, 0, 0, 0]);
  const size = Buffer.alloc(4);
  size.writeInt32LE(4 + id.length + element.length + 1);
  const bytes = Buffer.concat([size, id, element, Buffer.from([0])]);
  await database.db
    .command({ insert: collection, documents: [BSON.deserialize(bytes, { raw: true, validation: { utf8: false } })] }, {
      raw: true,
    } as never)
    .catch((error: unknown) => {
      throw new Error(`the raw insert failed: ${String(error)}`);
    });
}
