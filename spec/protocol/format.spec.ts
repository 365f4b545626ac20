import { expect } from "chai";
import {
  Binary,
  BSON,
  BSONRegExp,
  Code,
  Decimal128,
  type Document,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} from "mongodb";
import { bearer, type LiveClient, type Message, type ProtocolRig, startRig, tokenOf } from "./support.js";

const { EJSON } = BSON;

/** Values of every type but the deprecated ones, which not every server keeps. */
const everything = {
  double: new Double(3),
  minusZero: new Double(-0),
  notANumber: new Double(Number.NaN),
  int: new Int32(3),
  long: Long.fromNumber(3),
  longest: Long.MAX_VALUE,
  decimal: Decimal128.fromString("1.50"),
  text: 'a " b \u2028',
  yes: true,
  nothing: null,
  at: new Date(0),
  id_of_another: new ObjectId("652f1b2c3d4e5f6071829304"),
  uuid: new UUID("0191d7f0-1c3a-7abc-8def-0123456789ab"),
  bytes: new Binary(Buffer.from("hello"), 5),
  pattern: new BSONRegExp("b*+", "i"),
  code: new Code("return 1"),
  timestamp: new Timestamp({ t: 1, i: 2 }),
  least: new MinKey(),
  most: new MaxKey(),
  inner: { list: [new Int32(1), [Long.fromNumber(1)], { deep: new Double(1) }], empty: {} },
};

/** What a client stores that reads `data` with the driver. */
const storedOf = (data: unknown): string =>
  Buffer.from(BSON.serialize(EJSON.parse(JSON.stringify(data), { relaxed: false }) as Document)).toString("hex");
const hexOf = (document: Document): string => Buffer.from(BSON.serialize(document)).toString("hex");

describe("PROTOCOL.md, without loss", () => {
  let rig: ProtocolRig;

  before(async () => {
    rig = await startRig({
      interfaces: {
        items: { read: true },
        blind: { read: true },
        some: { collection: "items", read: true, fields: ["n", "inner.list"] },
        mine: { collection: "items", read: { owner: "$user.sub" } },
        theirs: { collection: "blind", read: { owner: "$user.sub" } },
      },
    });
  });
  afterEach(async () => {
    await rig.closeClients();
    for (const name of ["items", "blind"]) await rig.database.db.collection(name).deleteMany({});
    await rig.settle();
  });
  after(() => rig.dispose());

  const collection = (name = "items") => rig.database.db.collection<Document>(name);
  const changes = (messages: readonly Message[]): Message[] => messages.filter(({ type }) => type === undefined);
  const joined = async (message: object): Promise<{ client: LiveClient; messages: Message[] }> => {
    const client = await rig.live();
    return { client, messages: await client.subscribe({ id: 1, interface: "items", format: "ejson", ...message }) };
  };

  it("P6: with format=ejson, data is canonical Extended JSON on a plain connection", async () => {
    const [json, ejson, byName] = [
      await rig.plain("?interfaces=items"),
      await rig.plain("?interfaces=items&format=ejson"),
      await rig.plain("?interfaces=items&format=json"),
    ];
    const _id = Long.fromNumber(7);
    await collection().insertOne({ _id, ...everything } as unknown as Document);
    await collection().updateOne({ _id } as object, { $set: { int: Long.fromNumber(4) } });
    // SecantusDB may show an update as the document was later, even as removed.
    const [inserted, updated] = await ejson.take(2);
    await collection().deleteOne({ _id } as object);
    const [removed] = await ejson.take(1);
    expect(inserted).to.include.keys("interface", "operation", "data");
    expect(storedOf(inserted?.data)).to.equal(hexOf({ id: _id, ...everything }));
    expect(storedOf(updated?.data)).to.equal(hexOf({ id: _id, ...everything, int: Long.fromNumber(4) }));
    expect(removed).to.deep.equal({ interface: "items", operation: "delete", data: [{ $numberLong: "7" }] });
    for (const client of [json, byName]) {
      const messages = await client.take(3);
      expect(messages[0]?.data).to.deep.include({ id: 7, long: 3, decimal: "1.50", at: "1970-01-01T00:00:00.000Z" });
      expect(messages[2]?.data).to.deep.equal([7]);
    }
    for (const query of ["?format=bson", "?format=", "?format=json&format=ejson"]) {
      expect((await (await rig.plain(query)).closed).code, query).to.equal(4400);
    }
    const url = `${rig.gateway.websocketUrl}?format=ejson`;
    expect((await (await rig.live({ url })).closed).code).to.equal(4400);
  });

  it("P6: of what an application sends itself, too", async () => {
    const client = await rig.plain("?interfaces=items&format=ejson");
    rig.gateway.gateway.dispatch("items", "update", { _id: new Int32(1), n: Long.fromNumber(2), at: new Date(0) });
    rig.gateway.gateway.dispatch("items", "delete", [Long.fromNumber(5), "x"]);
    const [updated, removed] = await client.take(2);
    expect(updated?.data).to.deep.equal({
      id: { $numberInt: "1" },
      n: { $numberLong: "2" },
      at: { $date: { $numberLong: "0" } },
    });
    expect(removed?.data).to.deep.equal([{ $numberLong: "5" }, "x"]);
  });

  it("S27: with format ejson, rows, changes and what was missed are canonical Extended JSON", async () => {
    const _id = Long.fromNumber(7);
    await collection().insertOne({ _id, ...everything } as unknown as Document);
    await rig.settle();
    const { client, messages } = await joined({});
    const [snapshot, ready] = messages.slice(-2);
    const [row] = (snapshot?.data ?? []) as unknown[];
    expect(storedOf(row)).to.equal(hexOf({ id: _id, ...everything }));
    await collection().updateOne({ _id } as object, { $set: { int: Long.fromNumber(3) } });
    const [updated] = await client.until(({ type }) => type === undefined);
    expect(storedOf(updated?.data)).to.equal(hexOf({ id: _id, ...everything, int: Long.fromNumber(3) }));
    await client.close();
    await collection().updateOne({ _id } as object, { $set: { double: new Int32(3) } });
    await rig.settle();
    await collection().deleteOne({ _id } as object);
    await rig.settle();
    const again = await joined({ since: updated?.position, view: ready?.view });
    expect(again.messages.map(({ type }) => type)).to.deep.equal(["welcome", "ready"]);
    const missed = changes(await again.client.quiet());
    expect(((missed[0]?.data ?? {}) as Document).double).to.deep.equal({ $numberInt: "3" });
    const removed = missed.filter(({ operation }) => operation === "delete").flatMap(({ data }) => data as unknown[]);
    expect(removed).to.deep.include({ $numberLong: "7" });
  });

  it("S27: a format is a part of what a view is, and json is what is meant without one", async () => {
    const viewOf = (messages: readonly Message[]): unknown => messages.at(-1)?.view;
    const views = await Promise.all(
      [{}, { format: "ejson" }, { format: "json" }, { format: undefined }, { fields: ["n"] }].map(async (more) =>
        viewOf((await joined(more)).messages),
      ),
    );
    expect(views[0]).to.equal(views[1]);
    expect(views[2]).to.equal(views[3]);
    expect(new Set(views).size).to.equal(3);
    const { client } = await joined({});
    client.send({ type: "subscribe", id: 2, interface: "items", format: "bson" });
    expect(await client.next()).to.include({ type: "error", id: 2, status: 400, code: "bad-message" });
  });

  it("S27: what only a type tells is a change, and what no format shows is none", async () => {
    await collection().insertOne({ _id: new Int32(1), n: new Int32(3), hidden: 1 } as unknown as Document);
    await rig.settle();
    const { client } = await joined({ interface: "some" });
    const plain = await rig.live();
    await plain.subscribe({ id: 1, interface: "some" });
    await collection().updateOne({}, { $set: { n: new Double(3) } });
    await collection().updateOne({}, { $set: { hidden: 2 } });
    await rig.settle();
    const told = changes(await client.quiet()).filter(({ operation }) => operation === "update");
    expect(told.map(({ data }) => data)).to.deep.equal([{ id: { $numberInt: "1" }, n: { $numberDouble: "3.0" } }]);
    expect(changes(await plain.quiet()).filter(({ operation }) => operation === "update")).to.deep.equal([]);
  });

  for (const [name, from] of [
    ["mine", "items"],
    ["theirs", "blind"],
  ] as const) {
    it(`S27: rules hold, and ids that leave are told by type (${from})`, async () => {
      const token = bearer(await tokenOf("ann"));
      const client = await rig.live(token);
      await client.subscribe({ id: 1, interface: name, format: "ejson" });
      await collection(from).insertMany([
        { _id: Long.fromNumber(1), owner: "ann" },
        { _id: Long.fromNumber(2), owner: "bob" },
      ] as unknown as Document[]);
      const [inserted] = await client.take(1);
      expect(inserted?.data).to.deep.equal({ id: { $numberLong: "1" }, owner: "ann" });
      await collection(from).updateMany({}, { $set: { owner: "cid" } });
      const [left] = await client.take(1);
      expect([left?.operation, left?.data]).to.deep.equal(["delete", [{ $numberLong: "1" }]]);
      await rig.settle();
      expect(changes(await client.quiet())).to.deep.equal([]);
    });
  }
});
