import { expect } from "chai";
import type { Document } from "mongodb";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { type Send, sender } from "./writes-client.js";

/** Bodies as text: an object literal would lose some of them. Each with the code that it is refused with. */
const refused: readonly (readonly [body: string, code: string])[] = [
  // Prototypes (hazard 37).
  ['{"__proto__":{"polluted":1}}', "bad"],
  ['{"a":{"__proto__":{"polluted":1}}}', "bad"],
  ['{"a":[{"__proto__":{"polluted":1}}]}', "bad"],
  ['{"constructor":{"prototype":{"polluted":1}}}', "bad"],
  ['{"a":{"constructor":{"prototype":{"polluted":1}}}}', "bad"],
  ['{"prototype":{"polluted":1}}', "bad"],
  ['{"a":{"_bsontype":"ObjectId","id":"x"}}', "bad-value"],
  // Operators and names (hazard 38).
  ['{"$set":{"owner":"x"}}', "bad-value"],
  ['{"a":{"$set":1}}', "bad-value"],
  ['{"a":{"$inc":1}}', "bad-value"],
  ['{"a":[{"$where":"1"}]}', "bad-value"],
  ['{"a":{"b":1,"$unset":1}}', "bad-value"],
  ['{"a":{"$ref":"users","$id":1}}', "bad-value"],
  ['{"a":{"$code":"1"}}', "bad-value"],
  ['{"a":{"$date":"soon"}}', "bad-value"],
  ['{"a":{"$oid":"x"}}', "bad-value"],
  ['{"a":{"$oid":"5f1a2b3c4d5e6f7a8b9c0d1e","more":1}}', "bad-value"],
  ['{"$oid":"5f1a2b3c4d5e6f7a8b9c0d1e"}', "bad-value"],
  ['{"a.b":1}', "bad-value"],
  ['{"a":{"b.c":1}}', "bad-value"],
  ['{"a":{"..":1}}', "bad-value"],
  ['{"":1}', "bad-value"],
  ['{"a\\u0000b":1}', "bad-value"],
  ['{"a":{"$timestamp":{"t":0,"i":0}}}', "bad-value"],
  // Numbers and text that could not be stored as they are.
  ['{"a":1e999}', "bad-value"],
  ['{"a":12345678901234567890}', "bad-value"],
  ['{"a":1e30}', "bad-value"],
  ['{"a":-9007199254740992}', "bad-value"],
  ['{"a":"\\ud800"}', "bad-value"],
  // What is no document.
  ["[]", "bad-json"],
  ['[{"a":1}]', "bad-json"],
  ['"text"', "bad-json"],
  ["null", "bad-json"],
  ["", "bad-json"],
  ["{", "bad-json"],
  [`${'{"a":'.repeat(70)}1${"}".repeat(70)}`, "bad-json"],
];

const badIds = [
  '""',
  '"."',
  '".."',
  "null",
  "[]",
  "{}",
  "true",
  '{"a":1}',
  '{"$numberDecimal":"1"}',
  '{"$minKey":1}',
  "1e300",
  '{"$numberDouble":"1e300"}',
  '{"$numberDouble":"NaN"}',
  "1152921504606846976",
];

describe("hostile writes (hazards 37, 37a and 38)", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let send: Send;
  const sentinel = Object.getOwnPropertyNames(Object.prototype).sort().join();
  const things = () => database.db.collection<Document & { _id: string }>("things");

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      limits: { payloadKilobytes: 4 },
      interfaces: {
        things: { read: true, write: true },
        guarded: { collection: "things", read: true, write: { owner: "$user.sub" } },
      },
    });
    send = sender(gateway.url);
    await things().insertOne({ _id: "a", kept: 1 });
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });
  afterEach(async () => {
    expect(Object.getOwnPropertyNames(Object.prototype).sort().join()).to.equal(sentinel);
    expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
    expect(await things().find().toArray()).to.deep.equal([{ _id: "a", kept: 1 }]);
  });

  it("are refused with what is wrong, and change nothing", async () => {
    for (const [body, code] of refused) {
      for (const [method, path] of [
        ["POST", "things"],
        ["PATCH", "things/a"],
      ] as const) {
        const { status, outcome } = await send(method, path, body);
        expect(status, `${method} ${body.slice(0, 80)}`).to.equal(400);
        expect(outcome, `${method} ${body.slice(0, 80)}`).to.match(new RegExp(`^400 ${code}`));
      }
    }
  });

  it("can't give a document an id that is no address", async () => {
    for (const id of [...badIds, JSON.stringify("x".repeat(513))]) {
      expect((await send("POST", "things", `{"id":${id}}`)).outcome, id).to.match(/^400 bad-(id|value)$/);
    }
  });

  it("reach no collection that is not configured, and take no parameters", async () => {
    for (const name of ["system.users", "admin", "__proto__", "constructor", "things%00", "..%2fthings", "$cmd"]) {
      expect((await send("POST", name, {})).outcome, name).to.equal("404 unknown-interface");
    }
    for (const [method, path] of [
      ["POST", "things?upsert=true"],
      ["PATCH", "things/a?filter={}"],
      ["DELETE", "things/a?x=1"],
    ] as const) {
      const answer = await send(method, path, method === "DELETE" ? undefined : {});
      expect(answer.outcome, path).to.equal("400 unknown-parameter");
    }
    for (const id of ["%7B%22$ne%22:1%7D", "$ne", "a%00", "__proto__"]) {
      expect((await send("DELETE", `things/${id}`)).outcome, id).to.equal("404 not-found");
    }
  });

  it("are bounded in size, and are JSON: 413, 415", async () => {
    const large = { text: "x".repeat(5_000) };
    expect((await send("POST", "things", large)).outcome).to.equal("413 body-too-large");
    expect((await send("PATCH", "things/a", large)).outcome).to.equal("413 body-too-large");
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json-patch+json"]) {
      const post = await send("POST", "things", "{}", { "content-type": type });
      expect(post.outcome, type).to.equal("415 unsupported-media-type");
      expect((await send("PATCH", "things/a", "{}", { "content-type": type })).status, type).to.equal(415);
    }
    const merge = await send("POST", "things", "{}", { "content-type": "application/merge-patch+json" });
    expect(merge.outcome).to.equal("415 unsupported-media-type");
    // Who may not write does not get as far as to have a body read.
    expect((await send("POST", "guarded", "{")).outcome).to.equal("403 not-allowed");
    expect((await send("PATCH", "guarded/a", "{")).outcome).to.equal("404 not-found");
  });
});
