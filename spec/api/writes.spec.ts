import { expect } from "chai";
import { BSON, type Document, ObjectId, UUID } from "mongodb";
import { parsePosition } from "../../src/position.js";
import { connectClient } from "../support/client.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { subscribe } from "../support/subscriber.js";
import { problemOf } from "./support.js";
import { type Send, sender } from "./writes-client.js";

describe("writes by the API", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let send: Send;
  const stored = (collection: string, id: unknown) =>
    database.db.collection<Document>(collection).findOne({ _id: id } as Document, { promoteValues: false });

  before(async () => {
    database = await freshDatabase();
    await database.db
      .collection("jobs")
      .createIndex({ slug: 1, secret: 1 }, { unique: true, partialFilterExpression: { slug: { $exists: true } } });
    gateway = await startTestGateway({
      mongo: database.uri,
      allowedOrigins: ["https://app.example.com"],
      interfaces: {
        jobs: { read: true, write: true, fields: ["state", "user.name", "slug", "tags"], filterable: ["team"] },
        things: { read: true, write: true },
        fixed: { read: true },
        made: {
          read: true,
          write: true,
          filterable: ["n"],
          representation: (document: Document) => ({ double: document.n * 2 }),
        },
        dropbox: { write: true },
      },
    });
    send = sender(gateway.url);
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  it("adds a document: 201, its address, its position, its tag and its representation", async () => {
    const added = await send("POST", "jobs", { state: "waiting", user: { name: "Ann" }, team: "red" });
    expect(added.outcome).to.equal("201");
    const { id } = added.body as { id: string };
    expect(id).to.match(/^[0-9a-f]{24}$/);
    expect(added.body).to.deep.equal({ id, state: "waiting", user: { name: "Ann" } });
    expect(added.headers.get("location")).to.equal(`/api/jobs/${id}`);
    expect(parsePosition(added.headers.get("tailgate-position") ?? "")?.ordinal).to.equal(1);
    expect(await stored("jobs", new ObjectId(id))).to.include({ state: "waiting", team: "red" });
    const got = await fetch(gateway.url + added.headers.get("location"));
    expect(got.headers.get("etag")).to.equal(added.headers.get("etag"));
    expect(await got.json()).to.deep.equal(added.body);
  });

  it("changes what a merge patch names and nothing else: 200", async () => {
    const { Double, Long } = BSON;
    const document = { user: { name: "Ann", email: "a@b.c" }, n: new Double(3), big: Long.MAX_VALUE, secret: [1] };
    await database.db
      .collection<Document>("jobs")
      .insertOne({ _id: "p", state: "a", tags: [1], ...document } as Document);
    const changed = await send(
      "PATCH",
      "jobs/p",
      { state: null, user: { name: "Bo" }, tags: ["x", null, { y: null }], team: { colour: { deep: 1, gone: null } } },
      { "content-type": "application/merge-patch+json" },
    );
    expect(changed.outcome).to.equal("200");
    expect(changed.body).to.deep.equal({ id: "p", user: { name: "Bo" }, tags: ["x", null, { y: null }] });
    expect(changed.headers.get("tailgate-position")).to.match(/^[0-9a-f]{32}$/);
    const after = await stored("jobs", "p");
    expect(BSON.EJSON.serialize(after, { relaxed: false })).to.deep.equal(
      BSON.EJSON.serialize(
        {
          _id: "p",
          tags: ["x", null, { y: null }],
          ...document,
          user: { name: "Bo", email: "a@b.c" },
          team: { colour: { deep: 1 } },
        },
        { relaxed: false },
      ),
    );
  });

  it("merges as RFC 7396 has it: its examples", async () => {
    const examples: [Document, unknown, Document][] = [
      [{ a: "b" }, { a: "c" }, { a: "c" }],
      [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
      [{ a: "b" }, { a: null }, {}],
      [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
      [{ a: ["b"] }, { a: "c" }, { a: "c" }],
      [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
      [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
      [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
      [{ a: [1, 2] }, { a: { 0: "x" } }, { a: { 0: "x" } }],
      [{ a: { 0: "y" } }, { a: { 0: "x" } }, { a: { 0: "x" } }],
      [{ a: new Date(0) }, { a: {} }, { a: {} }],
      [{ a: 1 }, {}, { a: 1 }],
    ];
    for (const [before, patch, after] of examples) {
      const _id = new ObjectId();
      await database.db.collection("things").insertOne({ _id, ...before });
      const answer = await send("PATCH", `things/${_id}`, patch);
      expect(answer.outcome, JSON.stringify(answer.body)).to.equal("200");
      expect(answer.body).to.deep.equal({ id: String(_id), ...after });
      expect(await database.db.collection("things").findOne({ _id })).to.deep.equal({ _id, ...after });
      expect(answer.headers.get("tailgate-position"), JSON.stringify(patch)).to.match(/^[0-9a-f]{32}$/);
    }
  });

  it("removes a document: 204", async () => {
    await send("POST", "things", { id: "r" });
    const removed = await send("DELETE", "things/r");
    expect(removed.outcome).to.equal("204");
    expect(removed.headers.get("tailgate-position")).to.match(/^[0-9a-f]{32}$/);
    expect(await stored("things", "r")).to.equal(null);
    for (const method of ["DELETE", "PATCH"]) {
      expect((await send(method, "things/r", method === "PATCH" ? {} : undefined)).outcome).to.equal("404 not-found");
    }
  });

  it("takes Extended JSON, and stores a string as a string", async () => {
    const { Decimal128, Int32 } = BSON;
    const id = "5f1a2b3c4d5e6f7a8b9c0d1e";
    const values = {
      ref: { $oid: id },
      text: id,
      at: { $date: "2026-01-31T12:00:00Z" },
      price: { $numberDecimal: "1.50" },
      whole: 3,
      list: [{ $date: { $numberLong: "0" } }],
    };
    const added = await send("POST", "things", { id: { $oid: id }, ...values });
    expect(added.outcome).to.equal("201");
    expect(added.headers.get("location")).to.equal(`/api/things/${id}`);
    expect(await stored("things", new ObjectId(id))).to.deep.equal({
      _id: new ObjectId(id),
      ref: new ObjectId(id),
      text: id,
      at: new Date("2026-01-31T12:00:00Z"),
      price: Decimal128.fromString("1.50"),
      whole: new Int32(3),
      list: [new Date(0)],
    });
    expect(added.body.at).to.equal("2026-01-31T12:00:00.000Z");
    const changed = await send("PATCH", `things/${id}`, {
      at: { $date: "2027-01-01T00:00:00Z" },
      list: { at: { $oid: id } },
    });
    expect(changed.body).to.deep.include({ at: "2027-01-01T00:00:00.000Z", list: { at: id } });
    const uuid = "0b5f7a52-54fd-4c5e-9f0e-3a7c1d2e4f60";
    for (const [given, address, kept] of [
      [{ $uuid: uuid }, uuid, new UUID(uuid)],
      [12.5, "12.5", 12.5],
      [{ $numberDouble: "7.0" }, "7", 7],
      [{ $numberLong: "8" }, "8", 8],
      [{ $numberLong: "1152921504606846976" }, "1152921504606846976", BSON.Long.fromString("1152921504606846976")],
      [{ $numberLong: "-9223372036854775808" }, "-9223372036854775808", BSON.Long.MIN_VALUE],
      ["with/slash and ünïcode?#", encodeURIComponent("with/slash and ünïcode?#"), "with/slash and ünïcode?#"],
      [
        { $date: "2026-01-31T12:00:00Z" },
        encodeURIComponent("2026-01-31T12:00:00.000Z"),
        new Date("2026-01-31T12:00:00Z"),
      ],
      [id, id, id],
    ] as const) {
      const answer = await send("POST", "things", { id: given });
      expect(answer.headers.get("location")).to.equal(`/api/things/${address}`);
      expect(await stored("things", kept)).not.to.equal(null);
      expect((await send("DELETE", `things/${address}`)).outcome).to.equal("204");
      expect(await stored("things", kept), address).to.equal(null);
    }
    expect(await stored("things", new ObjectId(id)), "of two that look the same, the text was meant").not.to.equal(
      null,
    );
  });

  it("keeps each number in the type that Extended JSON gives it", async () => {
    const numbers = {
      int: { $numberInt: "5" },
      long: { $numberLong: "5" },
      longest: { $numberLong: "-9223372036854775808" },
      double: { $numberDouble: "3.0" },
      large: { $numberDouble: "1e30" },
      decimal: { $numberDecimal: "1.50" },
    };
    const deep = { ...numbers, list: [numbers.long, [numbers.double], { deep: numbers.int }] };
    const plain = { whole: 3, beyond: 2_147_483_648, half: 0.5 };
    const added = await send("POST", "things", { id: "typed", ...numbers, deep, ...plain });
    expect(added.outcome).to.equal("201");
    const got = await send("GET", "things/typed");
    expect([added.body, added.headers.get("etag")]).to.deep.equal([got.body, got.headers.get("etag")]);
    const large = { $numberDouble: "1e+30" };
    const { body } = await send("GET", "things/typed?format=ejson");
    expect({ ...body, large, deep: { ...(body.deep as object), large } }).to.deep.equal({
      id: "typed",
      ...numbers,
      large,
      deep: { ...deep, large },
      whole: { $numberInt: "3" },
      beyond: { $numberDouble: "2147483648.0" },
      half: { $numberDouble: "0.5" },
    });
    // A function that shows a document gets plain numbers, as it does for every document that is read.
    expect((await send("POST", "made", { id: "typed too", n: numbers.long })).body).to.deep.equal({
      id: "typed too",
      double: 10,
    });
    expect(await stored("made", "typed too")).to.deep.include({ n: BSON.Long.fromNumber(5) });
    const patched = await send("PATCH", "things/typed", { int: numbers.double, half: numbers.long });
    expect(patched.outcome).to.equal("200");
    expect((await send("GET", "things/typed?format=ejson")).body).to.deep.include({
      int: numbers.double,
      half: numbers.long,
    });
  });

  it("finds ids that are int64 beyond what a double tells apart", async () => {
    const texts = ["9007199254740992", "9007199254740993", "1152921504606846976", "9223372036854775807"];
    const all = [...texts, ...texts.map((text) => `-${text}`), "-9223372036854775808"];
    for (const [n, text] of all.entries()) {
      await database.db.collection<Document>("things").insertOne({ _id: BSON.Long.fromString(text), n } as Document);
    }
    for (const [n, text] of all.entries()) {
      const { outcome, body, headers } = await send("GET", `things/${text}`);
      expect([outcome, String(body.id), body.n]).to.deep.equal(["200", text, n]);
      const ifMatch = { "if-match": headers.get("etag") ?? "" };
      const changed = await send("PATCH", `things/${text}`, { n: -n - 1 }, ifMatch);
      expect([changed.outcome, String(changed.body.id), changed.body.n]).to.deep.equal(["200", text, -n - 1]);
    }
    // No neighbour is meant, nor what does not fit into 64 bits.
    for (const text of [
      ...["9007199254740994", "1152921504606847000", "01152921504606846976", "-0", "--9007199254740993"],
      ...["9223372036854775808", "-9223372036854775809", "18446744073709551616", "9".repeat(400)],
    ]) {
      expect((await send("DELETE", `things/${text}`)).outcome, text).to.equal("404 not-found");
    }
    for (const text of all) {
      expect((await send("DELETE", `things/${text}`)).outcome, text).to.equal("204");
      expect((await send("GET", `things/${text}`)).outcome, text).to.equal("404 not-found");
    }
  });

  it("is visible on the stream at its position", async () => {
    const plain = await connectClient(`${gateway.websocketUrl}?interfaces=things`);
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "things" });
    await subscriber.ready();
    const positions: (string | null)[] = [];
    const write = async (method: string, path: string, body?: object): Promise<void> => {
      positions.push((await send(method, path, body)).headers.get("tailgate-position"));
    };
    // What the spec before wrote may still be on its way, and SecantusDB may show an update as the document was later.
    const told = async (wanted: string): Promise<Record<string, unknown> | undefined> =>
      (
        await plain.until(({ operation, data }) => {
          const isOurs = Array.isArray(data) ? data.includes("s") : (data as { id?: unknown }).id === "s";
          return isOurs && operation === wanted;
        })
      ).at(-1);
    await write("POST", "things", { id: "s", n: 1 });
    expect((await told("insert"))?.data).to.deep.equal({ id: "s", n: 1 });
    await write("PATCH", "things/s", { n: 2 });
    expect((await told("update"))?.data).to.deep.equal({ id: "s", n: 2 });
    await write("DELETE", "things/s");
    await told("delete");
    await subscriber.until((rows) => !rows.has('"s"'));
    const changes = subscriber.client.received.filter(({ operation }) => operation !== undefined).slice(-3);
    expect(changes.map(({ operation }) => operation)).to.deep.equal(["insert", "update", "delete"]);
    expect(changes.map(({ position }) => position)).to.deep.equal(positions);
    expect(subscriber.faults).to.deep.equal([]);
    await Promise.all([plain.close(), subscriber.close()]);
  });

  it("writes only what the interface shows or lets filter (hazard 37a)", async () => {
    await database.db.collection<Document>("jobs").insertMany([
      { _id: "w", secret: 1, user: { email: "x" } },
      { _id: "scalar", user: "Ann" },
      { _id: "null", user: null },
    ] as unknown as Document[]);
    for (const [path, body] of [
      ["secret", { state: "a", secret: 2 }],
      ["user.email", { user: { name: "a", email: "b" } }],
      ["user", { user: {} }],
      ["user", { user: null }],
      ["user", { user: "x" }],
      ["user", { user: [{ email: "x" }] }],
      ["user", { user: { $oid: "5f1a2b3c4d5e6f7a8b9c0d1e" } }],
      ["_id", { _id: "x" }],
    ] as const) {
      for (const [method, address] of [
        ["POST", "jobs"],
        ["PATCH", "jobs/w"],
      ] as const) {
        const { outcome, body: problem } = await send(method, address, body);
        expect(outcome, `${method} ${JSON.stringify(body)}`).to.equal("400 path-not-writable");
        expect(String(problem.path), method).to.match(new RegExp(`^${path}(\\.email)?$`));
      }
    }
    expect((await send("PATCH", "jobs/w", { id: "other" })).body).to.include({ code: "path-not-writable", path: "id" });
    expect(await stored("jobs", "w")).to.deep.include({ user: { email: "x" } });
    // A sub-document would take the place of a value that is not shown.
    expect((await send("PATCH", "jobs/scalar", { user: { name: "x" } })).outcome).to.equal("400 path-not-writable");
    expect((await send("PATCH", "jobs/null", { user: { name: "x" } })).body).to.deep.equal({
      id: "null",
      user: { name: "x" },
    });
    expect((await send("POST", "jobs", { user: [{ name: "x" }] })).body.user).to.deep.equal([{ name: "x" }]);
    expect((await send("POST", "made", { double: 1 })).outcome).to.equal("400 path-not-writable");
    expect((await send("POST", "made", { id: "m", n: 1 })).body).to.deep.equal({ id: "m", double: 2 });
  });

  it("answers a document that is there already with 409, and names the keys that are shown", async () => {
    expect((await send("POST", "jobs", { id: "d", slug: "one" })).outcome).to.equal("201");
    const byId = await send("POST", "jobs", { id: "d" });
    expect([byId.outcome, byId.body.keys]).to.deep.equal(["409 duplicate", ["id"]]);
    const bySlug = await send("POST", "jobs", { slug: "one" });
    expect([bySlug.outcome, bySlug.body.keys]).to.deep.equal(["409 duplicate", ["slug"]]);
    await send("POST", "jobs", { id: "e", slug: "two" });
    const patched = await send("PATCH", "jobs/e", { slug: "one" });
    expect([patched.outcome, patched.body.keys]).to.deep.equal(["409 duplicate", ["slug"]]);
    expect(JSON.stringify([bySlug.body, patched.body])).not.to.match(/secret|spec_/);
  });

  it("has no writes where none are configured, nor where nothing may be read", async () => {
    for (const [method, path] of [
      ["POST", "fixed"],
      ["PATCH", "fixed/a"],
      ["DELETE", "fixed/a"],
    ] as const) {
      const answer = await send(method, path, method === "DELETE" ? undefined : {});
      expect(answer.outcome).to.equal("405 method-not-allowed");
      expect(answer.headers.get("allow")).to.equal("GET, HEAD, OPTIONS");
    }
    for (const name of ["dropbox", "nowhere"]) {
      expect((await send("POST", name, {})).outcome).to.equal("404 unknown-interface");
      expect((await send("DELETE", `${name}/a`)).outcome).to.equal("404 unknown-interface");
    }
    const options = await fetch(`${gateway.url}/api/things/a`, { method: "OPTIONS" });
    expect(options.headers.get("allow")).to.equal("DELETE, GET, HEAD, OPTIONS, PATCH");
  });

  describe("with entity tags", () => {
    const tagOf = async (path: string) => (await send("GET", path)).headers.get("etag") ?? "";

    it("answers 304 while a document is what the client has", async () => {
      await send("POST", "things", { id: "tag", n: 1 });
      const tag = await tagOf("things/tag");
      for (const header of [tag, `W/${tag}`, `"other", ${tag}`, "*"]) {
        const response = await fetch(`${gateway.url}/api/things/tag`, { headers: { "if-none-match": header } });
        expect([response.status, await response.text()], header).to.deep.equal([304, ""]);
        expect(response.headers.get("etag")).to.equal(tag);
      }
      for (const header of ['"other"', "", "nonsense"]) {
        expect((await send("GET", "things/tag", undefined, { "if-none-match": header })).status).to.equal(200);
      }
      const cors = await fetch(`${gateway.url}/api/things/tag`, { headers: { origin: "https://app.example.com" } });
      expect(cors.headers.get("access-control-expose-headers")).to.contain("ETag");
    });

    it("writes only while the document has the tag: else 412", async () => {
      await send("POST", "things", { id: "match", n: 1 });
      const first = await tagOf("things/match");
      const changed = await send("PATCH", "things/match", { n: 2 }, { "if-match": first });
      expect([changed.outcome, changed.headers.get("etag")]).to.deep.equal(["200", await tagOf("things/match")]);
      expect(changed.headers.get("etag")).not.to.equal(first);
      for (const header of [first, `W/${changed.headers.get("etag")}`, "nonsense"]) {
        const refused = await send("PATCH", "things/match", { n: 3 }, { "if-match": header });
        expect(refused.outcome, header).to.equal("412 precondition-failed");
        expect((await send("DELETE", "things/match", undefined, { "if-match": header })).status).to.equal(412);
      }
      expect((await send("PATCH", "things/match", { n: 4 }, { "if-match": "*" })).outcome).to.equal("200");
      const last = `"x", ${await tagOf("things/match")}`;
      expect((await send("DELETE", "things/match", undefined, { "if-match": last })).outcome).to.equal("204");
    });

    for (const name of ["things", "jobs", "made"]) {
      it(`lets one of many through that saw the same state of ${name}`, async () => {
        const field = name === "jobs" ? "state" : "n";
        await send("POST", name, { id: "race", [field]: 0 });
        for (let round = 0; round < 5; round += 1) {
          const tag = await tagOf(`${name}/race`);
          const answers = await Promise.all(
            Array.from({ length: 8 }, (_, at) =>
              send("PATCH", `${name}/race`, { [field]: round * 10 + at + 1 }, { "if-match": tag }),
            ),
          );
          const outcomes = answers.map(({ outcome }) => outcome).sort();
          expect(outcomes).to.deep.equal(["200", ...Array.from({ length: 7 }, () => "412 precondition-failed")]);
        }
      });
    }
  });

  it("tells a write that no majority confirmed, and one that the database is not there for", async () => {
    const fail = (data: Parameters<typeof failCommand>[2]) => failCommand(database.client, { times: 1 }, data);
    await fail({ failCommands: ["insert"], errorCode: 64 });
    const unconfirmed = await send("POST", "things", { n: 1 });
    expect(unconfirmed.outcome).to.equal("504 write-not-confirmed");
    await fail({ failCommands: ["findAndModify"], errorCode: 50 });
    await send("POST", "things", { id: "slow" });
    expect((await send("PATCH", "things/slow", { n: 1 })).outcome).to.equal("504 query-too-slow");
    await fail({ failCommands: ["insert"], errorCode: 8000 });
    const unknown = await fetch(`${gateway.url}/api/things`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    expect(await problemOf(unknown)).not.to.have.property("detail");
    expect(unknown.status).to.equal(500);
  });
});
