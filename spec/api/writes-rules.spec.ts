import { expect } from "chai";
import type { Document } from "mongodb";
import { z } from "zod";
import type { User } from "../../src/config/settings.js";
import { sleep } from "../../src/retry.js";
import { defineTask } from "../../src/tasks/define.js";
import { inSeconds, signed } from "../auth/issuer.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { type Send, sender } from "./writes-client.js";

const secret = "a-secret-of-at-least-32-bytes-here";
const own = { owner: "$user.sub" };

describe("the write rule", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let ann: Send;
  let bo: Send;
  let stranger: Send;
  const notes = () => database.db.collection<Document & { _id: string }>("notes");
  const denials = () => gateway.logged.filter(({ msg }) => msg === "write denied by a rule");

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      auth: { anonymous: true, jwt: { secret } },
      interfaces: {
        notes: { read: own, write: own },
        board: { collection: "notes", read: true, write: own, fields: ["text", "owner"] },
        outbox: { collection: "notes", read: own, write: true },
        ranked: { collection: "notes", read: true, write: { rank: "$user.rank" } },
        open: { collection: "notes", read: true, write: { $and: [own, { state: { $ne: "closed" } }] } },
        either: { collection: "notes", read: true, write: { $or: [{ x: 0 }, { y: 0 }] } },
        coded: {
          collection: "notes",
          read: true,
          write: (user: User | null) => (user === null ? false : user.sub === "ann" ? true : { owner: user.sub }),
        },
        counted: { collection: "notes", read: { n: { $gte: 2 } }, write: { n: { $in: [1, 2, 3], $type: "number" } } },
        tight: { collection: "notes", read: true, write: own, fields: ["text"] },
      },
      tasks: [
        defineTask({ name: "wait", input: z.unknown(), where: "main", allow: () => true, run: async () => undefined }),
      ],
    });
    const of = async (sub: string): Promise<Send> =>
      sender(gateway.url, await signed(secret, { sub, exp: inSeconds(600) }));
    [ann, bo, stranger] = [await of("ann"), await of("bo"), sender(gateway.url)];
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });
  beforeEach(async () => {
    await notes().deleteMany({});
    await notes().insertMany([
      { _id: "a", owner: "ann", text: "canary of ann", x: 0, y: 0 },
      { _id: "b", owner: "bo", text: "of bo", x: 0, y: 0 },
    ]);
  });

  it("lets a user add what it matches, and nothing else: 403", async () => {
    expect((await ann("POST", "notes", { owner: "ann", text: "1" })).outcome).to.equal("201");
    for (const body of [{ owner: "bo" }, {}, { owner: null }, { owner: { $numberInt: "1" } }, { owner: [] }]) {
      expect((await ann("POST", "notes", body)).outcome, JSON.stringify(body)).to.equal("403 not-allowed");
    }
    // A claim that nobody has matches nothing, not even a document without the field.
    expect((await ann("POST", "ranked", {})).outcome).to.equal("403 not-allowed");
    // A claim is a literal: one that is an object is no operator (hazard 37a).
    const sly = sender(
      gateway.url,
      await signed(secret, { sub: "sly", rank: { $exists: false }, exp: inSeconds(600) }),
    );
    expect((await sly("POST", "ranked", {})).outcome).to.equal("403 not-allowed");
    expect((await sly("DELETE", "ranked/a")).outcome).to.equal("404 not-found");
    expect((await stranger("POST", "board", { text: "x" })).outcome).to.equal("403 not-allowed");
    expect((await stranger("POST", "coded", { text: "x" })).outcome).to.equal("403 not-allowed");
    expect(await notes().countDocuments()).to.equal(3);
  });

  it("judges a number by its value, whatever its type", async () => {
    for (const type of ["$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"]) {
      const added = await ann("POST", "counted", { n: { [type]: "3" } });
      expect([added.outcome, Object.keys(added.body)], type).to.deep.equal(["201", ["id", "n"]]);
      const hidden = await ann("POST", "counted", { n: { [type]: "1" } });
      expect([hidden.outcome, Object.keys(hidden.body)], type).to.deep.equal(["201", ["id"]]);
      expect((await ann("POST", "counted", { n: { [type]: "4" } })).outcome, type).to.equal("403 not-allowed");
    }
    expect((await ann("POST", "counted", { n: "3" })).outcome).to.equal("403 not-allowed");
  });

  it("makes a document that it keeps from a user one that is not there: 404, word for word", async () => {
    const hidden = [];
    for (const id of ["b", "nowhere"]) {
      for (const [method, body] of [["PATCH", { text: "x" }], ["DELETE"]] as const) {
        const { status, body: problem } = await ann(method, `notes/${id}`, body);
        hidden.push(JSON.stringify([status, problem]).replaceAll(`\\"${id}\\"`, "ID"));
      }
    }
    expect(new Set(hidden).size, hidden.join("\n")).to.equal(1);
    expect(hidden[0]).to.match(/^\[404,.*"not-found"/);
    // Where it may be read but not written, too.
    for (const name of ["board", "open", "ranked"]) {
      expect((await ann("GET", `${name}/b`)).status).to.equal(200);
      expect((await ann("PATCH", `${name}/b`, { text: "x" })).outcome, name).to.equal("404 not-found");
      expect((await ann("DELETE", `${name}/b`)).outcome, name).to.equal("404 not-found");
    }
    for (const header of ['"x"', "*"]) {
      expect((await ann("PATCH", "notes/b", {}, { "if-match": header })).outcome).to.equal("404 not-found");
    }
    expect(await notes().findOne({ _id: "b" })).to.deep.equal({ _id: "b", owner: "bo", text: "of bo", x: 0, y: 0 });
  });

  it("holds for the document after the write too: 403", async () => {
    expect((await ann("PATCH", "notes/a", { owner: "bo" })).outcome).to.equal("403 not-allowed");
    expect((await ann("PATCH", "notes/a", { owner: null })).outcome).to.equal("403 not-allowed");
    expect((await ann("PATCH", "open/a", { state: "closed" })).outcome).to.equal("403 not-allowed");
    expect((await ann("PATCH", "open/a", { state: "late" })).outcome).to.equal("200");
    expect(await notes().findOne({ _id: "a" })).to.include({ owner: "ann", state: "late" });
    expect((await bo("DELETE", "notes/b")).outcome).to.equal("204");
  });

  it("judges by fields that may not be written", async () => {
    expect((await ann("PATCH", "tight/a", { text: "x" })).body).to.deep.equal({ id: "a", text: "x" });
    expect((await ann("PATCH", "tight/b", { text: "x" })).outcome).to.equal("404 not-found");
    expect((await ann("PATCH", "tight/a", { owner: "ann" })).outcome).to.equal("400 path-not-writable");
    expect((await ann("POST", "tight", { text: "x" })).outcome).to.equal("403 not-allowed");
  });

  it("is there for no task, which only its own routes start and cancel", async () => {
    const { headers, body } = await ann("POST", "tasks", { name: "wait" });
    const address = String(headers.get("location")).replace("/api/", "");
    const changed = await ann("PATCH", address, { state: "done" });
    expect([changed.outcome, changed.headers.get("allow")]).to.deep.equal([
      "405 method-not-allowed",
      "DELETE, GET, HEAD, OPTIONS",
    ]);
    expect((await ann("POST", "tasks", { _id: "x", name: "wait", state: "done" })).outcome).to.equal("400 bad-request");
    expect((await bo("DELETE", `tasks/${body.id}`)).status).to.equal(404);
  });

  it("may be a function of the application", async () => {
    expect((await ann("PATCH", "coded/b", { text: "by ann" })).outcome).to.equal("200");
    expect((await bo("PATCH", "coded/a", { text: "by bo" })).outcome).to.equal("404 not-found");
    expect((await stranger("DELETE", "coded/a")).outcome).to.equal("404 not-found");
  });

  it("shows no more than the id of what the user may write but not read", async () => {
    const given = await ann("PATCH", "outbox/a", { owner: "bo" });
    expect([given.outcome, given.body]).to.deep.equal(["200", { id: "a" }]);
    expect(given.headers.get("etag")).to.equal(null);
    expect((await ann("PATCH", "outbox/a", { owner: "ann" })).outcome).to.equal("404 not-found");
    const added = await ann("POST", "outbox", { id: "for bo", owner: "bo", text: "x" });
    expect([added.outcome, added.body]).to.deep.equal(["201", { id: "for bo" }]);
    expect((await bo("GET", "outbox/a")).body).to.include({ text: "canary of ann" });
  });

  it("is named in the log when it denies, without the document", async () => {
    const before = denials().length;
    await ann("PATCH", "notes/b", { text: "x" });
    await ann("PATCH", "board/b", { text: "x" });
    await ann("POST", "notes", { owner: "bo", text: "canary" });
    await stranger("DELETE", "board/a");
    await ann("DELETE", "board/nowhere");
    const logged = denials().slice(before);
    expect(logged.map((line) => [line.interface, line.rule, line.method, line.user])).to.deep.equal([
      ["notes", "read", "PATCH", "ann"],
      ["board", "write", "PATCH", "ann"],
      ["notes", "write", "POST", "ann"],
      ["board", "write", "DELETE", null],
    ]);
    expect(JSON.stringify(gateway.logged)).not.to.contain("canary");
  });

  describe("while others write", () => {
    it("lets no two writes break it together that break it neither alone", async () => {
      for (let round = 0; round < 25; round += 1) {
        const id = `race ${round}`;
        await notes().insertOne({ _id: id, x: 0, y: 0 });
        const answers = await Promise.all(
          ["x", "y", "x", "y"].map((name) => ann("PATCH", `either/${id}`, { [name]: 1 })),
        );
        const { x, y } = (await notes().findOne({ _id: id })) as Document;
        expect([x, y].sort(), `round ${round}`).to.deep.equal([0, 1]);
        const outcomes = answers.map(({ outcome }) => outcome).sort();
        expect(outcomes).to.deep.equal(["200", "200", "403 not-allowed", "403 not-allowed"]);
      }
    });

    it("never touches a document that changes hands at that moment", async () => {
      let running = true;
      let touched = 0;
      const flips = (async () => {
        for (let n = 0; running; n += 1) {
          const owner = n % 2 === 0 ? "bo" : "ann";
          const was = await notes().findOneAndUpdate({ _id: "a" }, { $set: { owner, mark: null } });
          if (was?.owner === "bo") expect(was.mark ?? null, `flip ${n}`).to.equal(null);
          if (was?.mark === "ann") touched += 1;
          await sleep(Math.random() * 20);
        }
      })().finally(() => {
        running = false;
      });
      const outcomes = new Set<string>();
      try {
        for (let n = 0; running && (touched < 5 || outcomes.size < 2); n += 1) {
          outcomes.add((await ann("PATCH", "board/a", { text: `${n}` })).outcome);
          outcomes.add((await ann("PATCH", "notes/a", { mark: "ann" })).outcome);
        }
      } finally {
        running = false;
        await flips;
      }
      expect([...outcomes].sort()).to.deep.equal(["200", "404 not-found"]);
    });

    it("loses no write to another field, and waits for none", async () => {
      let running = true;
      const counting = (async () => {
        let n = 0;
        for (; running; n += 1) await notes().updateOne({ _id: "a" }, { $inc: { n: 1 } });
        return n;
      })();
      const names = Array.from({ length: 24 }, (_, at) => `f${at}`);
      const answers = await Promise.all(names.map((name) => ann("PATCH", "notes/a", { deep: { [name]: name } })));
      running = false;
      const counted = await counting;
      expect(new Set(answers.map(({ outcome }) => outcome))).to.deep.equal(new Set(["200"]));
      const after = (await notes().findOne({ _id: "a" })) as Document;
      expect(Object.keys(after.deep).sort()).to.deep.equal(names.sort());
      expect(after.n).to.equal(counted);
      expect(counted).to.be.greaterThan(0);
    });
  });
});
