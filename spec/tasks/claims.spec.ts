import { EventEmitter, once } from "node:events";
import { expect } from "chai";
import { type Collection, type CommandStartedEvent, MongoClient, ObjectId } from "mongodb";
import { z } from "zod";
import { defineTask } from "../../src/index.js";
import { createLog } from "../../src/log.js";
import { sleep } from "../../src/retry.js";
import type { TaskDocument } from "../../src/tasks/document.js";
import { keepLease } from "../../src/tasks/lease.js";
import { createTaskStore, type TaskStore } from "../../src/tasks/store.js";
import { eventually } from "../executors/support.js";
import { failCommand } from "../support/failpoint.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { ended, startTasks, type TaskRig, until } from "./support/rig.js";

type StoredTask = TaskDocument & { _id: ObjectId };

const silent = createLog("silent");
const nothing = defineTask({ name: "nothing", input: z.undefined(), where: "main", allow: () => true, run: () => 1 });

describe("a claim", () => {
  let database: SpecDatabase;
  let client: MongoClient;
  let tasks: Collection<StoredTask>;

  beforeEach(async () => {
    database = await freshDatabase();
    client = await new MongoClient(database.uri, { writeConcern: { w: "majority" } }).connect();
    tasks = database.db.collection<StoredTask>("tasks");
  });
  afterEach(async () => {
    await client.close();
    await database.dispose();
  });

  function store(gateway: string, leaseMilliseconds = 50): TaskStore {
    return createTaskStore({
      db: client.db(),
      gateway,
      leaseMilliseconds,
      queue: 10,
      images: () => true,
      log: silent,
    });
  }

  async function insert(count = 1): Promise<ObjectId[]> {
    const ids = Array.from({ length: count }, () => new ObjectId());
    const documents = ids.map((_id, n) => ({
      _id,
      name: "nothing",
      state: "queued" as const,
      created_at: new Date(n),
    }));
    await tasks.insertMany(documents);
    return ids;
  }

  /** A lease of 50 ms is over when the server says so. */
  async function expired(by: TaskStore, id: ObjectId): Promise<unknown> {
    for (;;) {
      const found = await by.expire(id);
      if (typeof found === "string" || found === undefined) return found;
    }
  }

  it("takes the oldest task, of the names that the gateway knows", async () => {
    const [oldest] = await insert(3);
    await tasks.insertOne({ _id: new ObjectId(), name: "other", state: "queued", created_at: new Date(-1) });
    const claimed = await store("a").claim(["nothing"]);
    expect(claimed?.document).to.include({ state: "running", gateway: "a", attempts: 1 });
    expect(String(claimed?.document._id)).to.equal(String(oldest));
  });

  it("is had by one of many that ask for the same at once", async () => {
    await insert(5);
    const claims = await Promise.all(Array.from({ length: 8 }, (_, n) => store(`g${n}`).claim(["nothing"])));
    const ids = claims.filter((claim) => claim !== undefined).map(({ document }) => String(document._id));
    expect(ids).to.have.length(5);
    expect(new Set(ids)).to.have.length(5);
  });

  it("is over for a gateway whose task was taken by another: none of its writes does anything", async () => {
    const [id] = (await insert()) as [ObjectId];
    const [stalled, other] = [store("stalled"), store("other", 60_000)];
    const old = (await stalled.claim(["nothing"]))?.fence;
    if (old === undefined) throw new Error("not claimed");
    expect(await stalled.progress(old, 0.1)).to.equal(true);
    expect(await expired(other, id)).to.equal("queued");
    const taken = await other.claim(["nothing"]);
    expect(taken?.document).to.include({ gateway: "other", attempts: 2 });
    const before = await tasks.findOne({ _id: id });
    expect(await stalled.renew(old)).to.equal(false);
    expect(await stalled.progress(old, 0.9)).to.equal(false);
    expect(await stalled.end(old, { state: "complete", result: "stale" }, { progress: 1 })).to.equal(false);
    expect(await stalled.release(old)).to.equal(false);
    expect(await tasks.findOne({ _id: id })).to.deep.equal(before);
  });

  it("of the same gateway, by an earlier attempt, is no longer good either", async () => {
    const [id] = (await insert()) as [ObjectId];
    const only = store("only");
    const old = (await only.claim(["nothing"]))?.fence;
    await expired(only, id);
    const second = (await only.claim(["nothing"]))?.fence;
    if (old === undefined || second === undefined) throw new Error("not claimed");
    expect(await only.end(old, { state: "complete", result: "stale" }, undefined)).to.equal(false);
    expect(await only.end(second, { state: "complete", result: "fresh" }, undefined)).to.equal(true);
    expect(await tasks.findOne({ _id: id })).to.include({ state: "complete", result: "fresh", attempts: 2 });
  });

  it("is not taken away while its lease lasts", async () => {
    const [id] = (await insert()) as [ObjectId];
    await store("holder", 60_000).claim(["nothing"]);
    expect(await store("other").expire(id)).to.include({ state: "running", gateway: "holder" });
    expect(await tasks.findOne({ _id: id })).to.include({ state: "running", attempts: 1 });
  });

  it("is not taken away once the task has ended", async () => {
    const [id] = (await insert()) as [ObjectId];
    const holder = store("holder");
    const fence = (await holder.claim(["nothing"]))?.fence;
    if (fence === undefined) throw new Error("not claimed");
    await holder.end(fence, { state: "complete", result: 1 }, undefined);
    expect(await store("other").expire(id)).to.equal(undefined);
    expect(await tasks.findOne({ _id: id })).to.include({ state: "complete" });
  });

  it("ends the task that it holds when it can't be renewed in time", async () => {
    const askedAt = performance.now();
    await new Promise<void>((lost) => {
      keepLease({ leaseMilliseconds: 200, since: askedAt, renew: () => new Promise(() => {}), lost, log: silent });
    });
    expect(performance.now() - askedAt).to.be.within(190, 2_000);
  });
});

describe("a lease after a stall of the whole process", () => {
  /** Keeps a lease of 900 ms, stalls for 1,000, and renews with what the caller says. */
  function stalled(renew: () => Promise<boolean>): Promise<"lost" | "renewed"> {
    return new Promise((resolve) => {
      const lease = keepLease({
        leaseMilliseconds: 900,
        since: performance.now(),
        renew: async () => {
          const isOurs = await renew();
          // Long enough after the answer for the lease to be ended by a timer that was due before it.
          if (isOurs) setTimeout(() => resolve("renewed"), 50);
          return isOurs;
        },
        lost: () => resolve("lost"),
        log: silent,
      });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
      setTimeout(() => lease.end(), 2_000);
    });
  }

  it("is kept where the renewal that was overdue says that the task is still ours", async () => {
    expect(await stalled(() => sleep(20))).to.equal("renewed");
  });

  it("is lost where the renewal says so, or says nothing", async () => {
    expect(await stalled(async () => !(await sleep(20)))).to.equal("lost");
    expect(await stalled(() => new Promise(() => {}))).to.equal("lost");
  });
});

describe("waiting for tasks", () => {
  it("asks the database nothing: a task is started by the change that its insert was", async () => {
    const database = await freshDatabase();
    const monitored = { ...database, uri: `${database.uri}&monitorCommands=true` };
    const rig: TaskRig = await startTasks(monitored, [nothing]);
    const client = await rig.watch();
    const commands: string[] = [];
    const turns = new EventEmitter();
    rig.gateway.db.client.on("commandStarted", ({ commandName }: CommandStartedEvent) => {
      if (commandName === "getMore") turns.emit("turn");
      else commands.push(commandName);
    });
    try {
      const { body } = await rig.post("nothing");
      await ended(client, body.id);
      const ofTheTask = commands.splice(0);
      expect(ofTheTask.filter((name) => name === "find")).to.deep.equal([]);
      expect(ofTheTask.filter((name) => name === "aggregate")).to.have.length(1, "the count of the queue");
      // What its end brings about, a claim that finds nothing, is over two turns of the stream later.
      for (let turn = 0; turn < 2; turn++) await once(turns, "turn");
      commands.length = 0;
      for (let turn = 0; turn < 4; turn++) await once(turns, "turn");
      expect(commands).to.deep.equal([]);
    } finally {
      await client.close();
      await rig.stop();
      await database.dispose();
    }
  });
});

describe("requests for tasks while the database is slow", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let rig: TaskRig;
  const asked = new EventEmitter();
  const slow = defineTask({
    name: "slow",
    input: z.undefined(),
    where: "main",
    allow: () => asked.emit("asked") || true,
    run: () => 1,
  });

  before(async () => {
    server = await startOwnServer();
    database = await freshDatabase(server);
    rig = await startTasks(database, [slow]);
  });
  after(async () => {
    await rig.stop();
    await database.client.close();
    await server.dispose();
  });

  /** Asks for tasks, one after another. The database holds the first back, in its count of the queue. */
  async function ask(blockTimeMS: number, signals: (AbortSignal | null)[]): Promise<Promise<Response>[]> {
    const url = `http://127.0.0.1:${rig.gateway.port}/api/tasks`;
    const body = JSON.stringify({ name: "slow" });
    await database.db.collection("tasks").deleteMany({});
    await failCommand(
      database.client,
      { times: 1 },
      { failCommands: ["aggregate"], blockConnection: true, blockTimeMS },
    );
    const answers: Promise<Response>[] = [];
    for (const signal of signals) {
      const wasAsked = once(asked, "asked");
      const headers = { "content-type": "application/json" };
      answers.push(fetch(url, { method: "POST", headers, body, signal }));
      await wasAsked;
    }
    return answers;
  }
  const stored = () => database.db.collection("tasks").countDocuments();

  it("are forgotten where their clients have gone meanwhile", async () => {
    const leaving = new AbortController();
    const [first, second, third] = await ask(2_000, [null, leaving.signal, null]);
    leaving.abort();
    expect(await second?.catch((error: Error) => error.name)).to.equal("AbortError");
    expect([(await first)?.status, (await third)?.status]).to.deep.equal([202, 202]);
    expect(await stored()).to.equal(2);
  });

  it("are refused where those before them take too long", async () => {
    const [first, second] = await ask(15_000, [null, null]);
    expect((await first)?.status).to.equal(202);
    const refused = await second;
    expect(refused?.status).to.equal(503);
    expect(await refused?.json()).to.have.property("code", "database-unavailable");
    expect(await stored()).to.equal(1);
  }).timeout(60_000);
});

describe("a task during an outage of the database", () => {
  it("goes on, and its result is written when the database is back", async function () {
    // A server that was given can't be killed.
    if (givenUri) return this.skip();
    this.timeout(60_000);
    const running: (() => void)[] = [];
    // It is shown as running a moment before it does.
    const finish = async (): Promise<void> => {
      await eventually(() => running.length > 0);
      running.pop()?.();
    };
    const held = defineTask({
      name: "held",
      input: z.undefined(),
      where: "main",
      allow: () => true,
      run: () =>
        new Promise((resolve) => {
          running.push(() => resolve("kept"));
        }),
    });
    const server = await startOwnServer();
    const database = await freshDatabase(server);
    const rig = await startTasks(database, [held], { leaseMilliseconds: 60_000 });
    const client = await rig.watch();
    try {
      const { body } = await rig.post("held");
      await until(client, body.id, "running");
      await server.kill("SIGKILL");
      await finish();
      await eventually(() => rig.logged.some(({ msg }) => msg === "the end of a task not written"));
      await server.restart();
      expect(await ended(client, body.id)).to.include({ state: "complete", result: "kept" });
      const next = await rig.post("held");
      await until(client, next.body.id, "running");
      await finish();
      await ended(client, next.body.id);
    } finally {
      await client.close();
      await rig.stop();
      await database.dispose();
      await server.dispose();
    }
  });
});
