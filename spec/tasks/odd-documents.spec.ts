import { expect } from "chai";
import { BSONRegExp, type Document, ObjectId } from "mongodb";
import { z } from "zod";
import { defineTask } from "../../src/index.js";
import { keyOf } from "../../src/tasks/lease.js";
import { connectClient } from "../support/client.js";
import { eventually } from "../support/eventually.js";
import { startProxy } from "../support/proxy.js";
import { freshDatabase, givenUri, type SpecDatabase } from "../support/server.js";
import { ended, startTasks, type TaskRig } from "./support/rig.js";

const nothing = defineTask({ name: "nothing", input: z.any(), where: "main", allow: () => true, run: () => 1 });

/**
 * Options of a pattern that the driver refuses to read, which MongoDB stores for whoever writes them. The stand-in drops
 * those that it does not know, so they are put in on their way from the server.
 */
const marked = new BSONRegExp("unreadable", "i");
function unreadable(answer: Buffer): Buffer {
  for (let at = answer.indexOf("unreadable\0i\0"); at !== -1; at = answer.indexOf("unreadable\0i\0")) {
    answer.write("g", at + "unreadable\0".length);
  }
  return answer;
}

describe("an odd document in the tasks' collection", () => {
  let database: SpecDatabase;
  let rig: TaskRig | undefined;

  beforeEach(async () => {
    database = await freshDatabase();
  });
  afterEach(async () => {
    await rig?.stop();
    await database.dispose();
  });

  const start = async (uri = database.uri): Promise<TaskRig> => {
    rig = await startTasks({ ...database, uri }, [nothing], {
      interfaces: { items: { read: true } },
      leaseMilliseconds: 300,
    });
    return rig;
  };
  const completed = (_id: ObjectId): Promise<void> =>
    eventually(async () => (await database.db.collection("tasks").findOne({ _id }))?.state === "complete");
  const insert = (document: Document) => database.db.collection("tasks").insertOne(document);

  it("that is not decoded is left out, with a metric, and the stream and other tasks go on (hazard 12)", async function () {
    if (givenUri) return this.skip();
    const proxy = await startProxy({ port: Number(new URL(database.uri).port) }, { answered: unreadable });
    const { gateway, logged, post, watch, stop } = await start(
      `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`,
    );
    const items = await connectClient(`ws://127.0.0.1:${gateway.port}/ws?interfaces=items`);
    const tasks = await watch();
    await insert({ name: "nothing", state: "queued", created_at: new Date(), input: marked });
    await database.db.collection("items").insertOne({ n: 1 });
    expect(await items.next()).to.deep.include({ operation: "insert" });
    const { body } = await post("nothing");
    expect(await ended(tasks, body.id)).to.include({ state: "complete" });
    const metrics = await (await fetch(`http://127.0.0.1:${gateway.port}/metrics`)).text();
    expect(metrics).to.match(/tailgate_quarantined_documents_total\{interface="tasks"\} [1-9]/);
    expect(logged.some(({ msg }) => msg === "change stream failed")).to.equal(false);
    await items.close();
    await tasks.close();
    await stop();
    await proxy.close();
  });

  it("runs under an id that has no text of its own", async () => {
    const { logged } = await start();
    const _id = { toString: 1 } as unknown as ObjectId;
    await insert({ _id, name: "nothing", state: "queued", created_at: new Date() });
    await completed(_id);
    expect(logged.some(({ msg }) => msg === "change stream failed")).to.equal(false);
  });

  it("that was left running is no reason not to start", async () => {
    // V8 can't compile this pattern, though the server can.
    const input = new BSONRegExp("b*+");
    await insert({ name: "nothing", state: "running", lease_expires_at: new Date(), input });
    const odd = await insert({ name: "nothing", state: "running", lease_expires_at: "never" });
    await start();
    await completed(odd.insertedId);
  });
});

describe("the key of a task's id", () => {
  it("is another for every other id", () => {
    const hex = "0123456789abcdef01234567";
    const ids: unknown[] = [
      1,
      "1",
      null,
      {},
      { a: 1 },
      { a: "1" },
      { toString: 1 },
      new Date(0),
      new ObjectId(hex),
      hex,
    ];
    expect(new Set(ids.map(keyOf)).size).to.equal(ids.length);
    expect(keyOf({ a: { b: { c: { d: { e: 1 } } } } })).not.to.equal(keyOf({ a: { b: { c: { d: { e: 2 } } } } }));
    expect(keyOf(new ObjectId(hex))).to.equal(keyOf(new ObjectId(hex)));
  });
});
