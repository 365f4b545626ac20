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
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { refusalOf } from "./support.js";

const { EJSON } = BSON;

/** A document with a value of every type but the deprecated ones, which not every server keeps. */
const everything = {
  _id: new ObjectId("652f1b2c3d4e5f6071829304"),
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
  uuid: new UUID("0191d7f0-1c3a-7abc-8def-0123456789ab"),
  bytes: new Binary(Buffer.from("hello"), 5),
  pattern: new BSONRegExp("b*+", "i"),
  code: new Code("return 1"),
  timestamp: new Timestamp({ t: 1, i: 2 }),
  least: new MinKey(),
  most: new MaxKey(),
  inner: { list: [new Int32(1), [Long.fromNumber(1)], { deep: new Double(1) }], empty: {} },
};

describe("the API in Extended JSON (hazard 13)", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let url: string;

  before(async () => {
    database = await freshDatabase();
    await database.db.collection<Document>("things").insertMany([
      everything,
      ...Array.from({ length: 9 }, (_, n) => ({
        _id: new Int32(n),
        long: n % 2 === 0 ? Long.fromNumber(n) : n,
        secret: 1,
      })),
    ] as unknown as Document[]);
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        things: { read: true },
        some: { collection: "things", read: true, fields: ["long", "inner.list"] },
        made: { collection: "things", read: true, representation: ({ _id, at }) => ({ name: String(_id), at }) },
      },
    });
    url = `${gateway.url}/api`;
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  const textOf = async (path: string, init?: RequestInit): Promise<string> => {
    const response = await fetch(`${url}/${path}`, init);
    const text = await response.text();
    expect(response.status, text).to.equal(200);
    expect(response.headers.get("content-type")).to.match(/^application\/json/);
    return text;
  };
  const query = (name: string, body: object): Promise<string> =>
    textOf(`${name}/query`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  /** The rows of a page as the driver reads them, in BSON. */
  const rowsOf = (text: string): Buffer[] =>
    (EJSON.parse(text, { relaxed: false }) as { data: Document[] }).data.map((row) => Buffer.from(BSON.serialize(row)));
  const filter = '{"yes":true}';

  it("gives back what is stored, in lists, queries and single documents", async () => {
    const { _id, ...rest } = everything;
    const stored = Buffer.from(BSON.serialize({ id: _id, ...rest }));
    const texts = [
      await textOf(`things?format=ejson&filter=${encodeURIComponent(filter)}`),
      await query("things", { format: "ejson", filter: JSON.parse(filter) }),
      `{"data":[${await textOf("things/652f1b2c3d4e5f6071829304?format=ejson")}]}`,
    ];
    for (const text of texts) {
      expect(rowsOf(text).map((row) => row.toString("hex"))).to.deep.equal([stored.toString("hex")]);
    }
    const { next, position } = JSON.parse(texts[0] ?? "") as { next: unknown; position: unknown };
    expect([next, typeof position]).to.deep.equal([null, "string"]);
  });

  it("shows the fields that the interface shows, those asked for, and what a function makes", async () => {
    const id = "652f1b2c3d4e5f6071829304";
    const long = { $numberLong: "3" };
    const list = [{ $numberInt: "1" }, [{ $numberLong: "1" }], { deep: { $numberDouble: "1.0" } }];
    const $oid = { $oid: id };
    expect(JSON.parse(await textOf(`some/${id}?format=ejson`))).to.deep.equal({ id: $oid, long, inner: { list } });
    const filtered = `filter=${encodeURIComponent(`{"id":{"$oid":"${id}"}}`)}&format=ejson`;
    expect((JSON.parse(await textOf(`some?fields=long&${filtered}`)) as Document).data).to.deep.equal([
      { id: $oid, long },
    ]);
    const at = { $date: { $numberLong: "0" } };
    expect(JSON.parse(await textOf(`made/${id}?format=ejson`))).to.deep.equal({ id: $oid, name: id, at });
  });

  it("pages as the other format does, whose cursors it shares", async () => {
    const seen: unknown[] = [];
    let cursor = "";
    for (let page = 0; page < 10; page++) {
      const format = page % 3 === 2 ? "json" : "ejson";
      const text = await textOf(`some?sort=-long&limit=2&format=${format}${cursor}`);
      const { data, next } = JSON.parse(text) as { data: Document[]; next: string | null };
      seen.push(...data.map(({ id }) => (typeof id === "object" ? (id.$numberInt ?? id.$oid) : id)).map(String));
      if (next === null) break;
      cursor = `&cursor=${next}`;
    }
    expect(seen).to.deep.equal(["8", "7", "6", "5", "4", "652f1b2c3d4e5f6071829304", "3", "2", "1", "0"]);
  });

  it("is asked for by its name alone, and json is the other name", async () => {
    expect(await textOf("things/7?format=json")).to.equal(await textOf("things/7"));
    expect(await textOf("things?limit=1&format=json")).to.equal(await textOf("things?limit=1"));
    for (const format of ["bson", "EJSON", "", "ejson,json"]) {
      for (const path of [`things?format=${format}`, `things/7?format=${format}`]) {
        expect(await refusalOf(await fetch(`${url}/${path}`)), path).to.equal("400 bad-format");
      }
    }
    const body = { method: "POST", headers: { "content-type": "application/json" }, body: '{"format":1}' };
    expect(await refusalOf(await fetch(`${url}/things/query`, body))).to.equal("400 bad-format");
    const twice = "format=json&format=ejson";
    expect(await refusalOf(await fetch(`${url}/things/7?${twice}`))).to.equal("400 repeated-parameter");
    expect(await refusalOf(await fetch(`${url}/things?${twice}`))).to.equal("400 repeated-parameter");
    expect(await refusalOf(await fetch(`${url}/things/7?limit=1`))).to.equal("400 unknown-parameter");
  });

  it("has a tag of its own, for the other format would not tell 3 from 3.0", async () => {
    const path = `${url}/things/652f1b2c3d4e5f6071829304`;
    const json = (await fetch(path)).headers.get("etag") ?? "";
    const extended = (await fetch(`${path}?format=ejson`)).headers.get("etag") ?? "";
    expect(extended).not.to.equal(json);
    const status = async (etag: string): Promise<number> =>
      (await fetch(`${path}?format=ejson`, { headers: { "if-none-match": etag } })).status;
    expect([await status(extended), await status(json)]).to.deep.equal([304, 200]);
    const things = database.db.collection<Document>("things");
    await things.updateOne({ yes: true }, { $set: { double: new Int32(3) } });
    expect((await fetch(path, { headers: { "if-none-match": json } })).status).to.equal(304);
    expect(await status(extended)).to.equal(200);
  });
});
