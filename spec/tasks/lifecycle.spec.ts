import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { z } from "zod";
import { defineTask, exported } from "../../src/index.js";
import { refusalOf } from "../api/support.js";
import { signed } from "../auth/issuer.js";
import { connectClient, type TestClient } from "../support/client.js";
import { eventually } from "../support/eventually.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { ended, type Shown, startTasks, type TaskRig, until } from "./support/rig.js";
import type * as work from "./support/work.js";

const workModule = import.meta.resolve("./support/work.js");
const everyone = (): boolean => true;
const numbers = z.object({ numbers: z.array(z.number()).max(5) });
let release: (() => void) | undefined;

const definitions = [
  defineTask({
    name: "sum-main",
    input: numbers,
    where: "main",
    allow: everyone,
    run(input, context) {
      context.progress(0.5);
      return { sum: input.numbers.reduce((total, value) => total + value, 0), pid: process.pid };
    },
  }),
  defineTask({
    name: "sum-thread",
    input: numbers,
    where: "thread",
    allow: everyone,
    run: exported<typeof work.sum>(workModule, "sum"),
  }),
  defineTask({
    name: "sum-process",
    input: numbers,
    where: "process",
    allow: everyone,
    run: exported<typeof work.sum>(workModule, "sum"),
  }),
  defineTask({
    name: "double",
    input: z.object({ of: z.number() }),
    where: "thread",
    allow: everyone,
    run: (input) => input.of * 2,
  }),
  defineTask({
    name: "double-method",
    input: z.object({ of: z.number() }),
    where: "process",
    allow: everyone,
    async run({ of }, context) {
      context.progress(0.5);
      return of * 2;
    },
  }),
  defineTask({
    name: "held",
    input: z.undefined(),
    where: "main",
    allow: everyone,
    run: () =>
      new Promise<void>((resolve) => {
        release = resolve;
      }),
  }),
  defineTask({
    name: "counting",
    input: z.object({ to: z.int() }),
    where: "main",
    allow: everyone,
    async run({ to }, context) {
      for (let done = 0; done <= to; done++) {
        context.progress({ done, of: to });
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
  }),
  defineTask({
    name: "flooding",
    input: z.undefined(),
    where: "thread",
    allow: everyone,
    run(_, context) {
      let done = 0;
      for (const end = performance.now() + 1500; performance.now() < end; ) context.progress({ done: ++done, of: 0 });
      return done;
    },
  }),
  defineTask({
    name: "odd-progress",
    input: z.undefined(),
    where: "main",
    allow: everyone,
    run(_, context) {
      let deep: unknown = 1;
      for (let level = 0; level < 120; level++) deep = { deep };
      for (const value of [Number.NaN, "half", null, 7, { text: "x".repeat(20_000) }, deep])
        context.progress(value as number);
    },
  }),
  defineTask({
    name: "typed",
    input: z.object({ day: z.coerce.date(), times: z.int().default(3) }),
    where: "main",
    allow: everyone,
    run: ({ day, times }) => ({ year: day.getUTCFullYear(), times, day }),
  }),
  defineTask({
    name: "context",
    input: z.object({ url: z.url() }),
    where: "main",
    allow: everyone,
    async run({ url }, context) {
      const text = await context.http.get(url, { signal: context.signal }).text();
      await context.db.collection("notes").insertOne({ text });
      return { text, tripled: await context.runInThread((value: number) => value * 3, 14) };
    },
  }),
  defineTask({
    name: "fails-main",
    input: z.undefined(),
    where: "main",
    allow: everyone,
    run() {
      throw Object.assign(new Error("no room at mongodb://writer:canary@example.test/db\n  at secret line"), {
        code: "no-room",
      });
    },
  }),
  defineTask({
    name: "fails-process",
    input: z.undefined(),
    where: "process",
    allow: everyone,
    run: exported<typeof work.fail>(workModule, "fail"),
  }),
  defineTask({
    name: "returns",
    input: z.enum(["large", "function", "cycle", "huge integer", "deep", "set"]),
    where: "main",
    allow: everyone,
    run(what) {
      const cycle: Record<string, unknown> = {};
      cycle.self = cycle;
      let deep: unknown = 1;
      for (let level = 0; level < 300; level++) deep = { deep };
      return {
        large: "x".repeat(1_000_001),
        function: everyone,
        cycle,
        "huge integer": 2n ** 80n,
        deep,
        set: new Set([1]),
      }[what];
    },
  }),
  defineTask({ name: "for-nobody", input: z.undefined(), where: "main", run: everyone }),
  defineTask({
    name: "for-users",
    input: z.undefined(),
    where: "main",
    allow: (user) => user !== null,
    run: everyone,
  }),
];

describe("a task", () => {
  let database: SpecDatabase;
  let rig: TaskRig;
  let client: TestClient;

  before(async () => {
    database = await freshDatabase();
    rig = await startTasks(database, definitions);
  });
  after(async () => {
    await rig.stop();
    await database.dispose();
  });
  beforeEach(async () => {
    client = await rig.watch();
  });
  afterEach(() => client.close());

  for (const where of ["main", "thread", "process"]) {
    it(`runs where it was defined to run (${where}), from queued to complete with its result`, async () => {
      const { status, body, headers } = await rig.post(`sum-${where}`, { numbers: [1, 2, 4] });
      expect(status).to.equal(202);
      expect(headers.get("location")).to.equal(`/api/tasks/${body.id}`);
      expect(body).to.include({ name: `sum-${where}`, state: "queued", progress: null, result: null, error: null });
      const shown = await until(client, body.id, "complete");
      expect([...new Set(shown.map(({ state }) => state))]).to.deep.equal(["queued", "running", "complete"]);
      const last = shown.at(-1) as Shown;
      expect(last.result).to.have.property("sum", 7);
      expect((last.result as { pid: number }).pid === process.pid).to.equal(where !== "process");
      expect(last.progress).to.equal(0.5);
      const { body: fetched } = await rig.get(`/api/tasks/${body.id}`);
      expect(fetched).to.deep.equal(last);
      const { body: list } = await rig.get("/api/tasks?sort=-created_at&limit=1");
      expect(list.data).to.deep.equal([fetched]);
      expect(Object.keys(fetched).sort()).to.deep.equal(
        "created_at ended_at error id input name progress result started_at state user".split(" "),
      );
    });
  }

  it("runs a self-contained function in a worker, whichever way it is written", async () => {
    const { body } = await rig.post("double", { of: 21 });
    expect(await ended(client, body.id)).to.include({ state: "complete", result: 42 });
    const method = await rig.post("double-method", { of: 4 });
    expect(await ended(client, method.body.id)).to.include({ state: "complete", result: 8, progress: 0.5 });
  });

  it("is shown while it runs", async () => {
    const { body } = await rig.post("held");
    const running = (await until(client, body.id, "running")).at(-1);
    expect(running).to.include({ ended_at: null, error: null });
    expect(running?.started_at).to.be.a("string");
    // It is shown as running a moment before it does.
    await eventually(() => release !== undefined);
    release?.();
    expect(await ended(client, body.id)).to.include({ state: "complete", result: null });
  });

  it("shows its progress a few times a second, and the last of it always", async () => {
    const { body } = await rig.post("counting", { to: 500 });
    const shown = await until(client, body.id, "complete");
    const seen = shown.map((task) => task.progress as { done: number } | null).filter((progress) => progress !== null);
    expect(seen.at(-1)).to.deep.equal({ done: 500, of: 500 });
    const { started_at, ended_at } = shown.at(-1) as unknown as { started_at: string; ended_at: string };
    const most = (Date.parse(ended_at) - Date.parse(started_at)) / 200 + 3;
    expect(seen.length).to.be.within(2, Math.min(most, 100));
    expect(seen.map(({ done }) => done)).to.deep.equal(seen.map(({ done }) => done).sort((a, b) => a - b));
  });

  it("does not keep the gateway from its other work with progress from a tight loop in a worker", async () => {
    const { body } = await rig.post("flooding");
    let hasEnded = false;
    const end = ended(client, body.id).finally(() => {
      hasEnded = true;
    });
    let slowest = 0;
    while (!hasEnded) {
      const asked = performance.now();
      expect((await rig.get("/livez")).status).to.equal(200);
      slowest = Math.max(slowest, performance.now() - asked);
    }
    const task = await end;
    expect(task).to.include({ state: "complete" });
    expect(task.progress).to.deep.equal({ done: task.result, of: 0 });
    // Without a bound it takes three seconds and more.
    expect(slowest).to.be.below(2000);
  });

  it("does not fail for a progress that can't be shown, and keeps numbers from 0 to 1", async () => {
    const { body } = await rig.post("odd-progress");
    expect(await ended(client, body.id)).to.include({ state: "complete", progress: 1 });
  });

  it("gets what its schema makes of the input", async () => {
    const { body } = await rig.post("typed", { day: "2024-02-29T00:00:00Z" });
    const task = await ended(client, body.id);
    expect(task.result).to.deep.equal({ year: 2024, times: 3, day: "2024-02-29T00:00:00.000Z" });
    expect(task.input).to.deep.equal({ day: "2024-02-29T00:00:00Z" });
  });

  it("has the shared HTTP client, the database and the executors on the main thread", async () => {
    const server = createServer((request, response) => response.end(request.headers["user-agent"])).listen(
      0,
      "127.0.0.1",
    );
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const { body } = await rig.post("context", { url });
    const task = await ended(client, body.id);
    server.closeAllConnections();
    server.close();
    expect(task.result).to.have.property("tripled", 42);
    expect((task.result as { text: string }).text).to.match(/^tailgate\//);
    expect(await database.db.collection("notes").countDocuments({ text: /^tailgate/ })).to.equal(1);
  });

  for (const [name, code, message] of [
    ["fails-main", "no-room", "no room at mongodb://[redacted]@example.test/db"],
    ["fails-process", "sample-empty", "the sample mongodb://[redacted]@example.test/db is empty"],
  ] as const) {
    it(`that throws has failed with a reason for people, its stack in the log (${name})`, async () => {
      const { body } = await rig.post(name);
      const task = await ended(client, body.id);
      expect(task).to.include({ state: "failed", result: null });
      expect(task.error).to.deep.equal({ code, message });
      const stored = await database.db.collection("tasks").findOne({ "error.code": code });
      expect(JSON.stringify(stored)).to.not.match(/canary|work\.ts|lifecycle\.spec/);
      const line = rig.logged.find((each) => each.taskId === body.id && each.msg === "task failed");
      expect((line as { err: { stack: string } }).err.stack).to.match(/work\.ts|lifecycle\.spec/);
      expect(JSON.stringify(rig.logged)).to.not.contain("canary");
    });
  }

  for (const [what, code] of [
    ["large", "result-too-large"],
    ["function", "result-not-serialisable"],
    ["cycle", "result-not-serialisable"],
    ["huge integer", "result-not-serialisable"],
    ["deep", "result-not-serialisable"],
    ["set", "result-not-serialisable"],
  ]) {
    it(`whose result can't be stored has failed (${what})`, async () => {
      const { body } = await rig.post("returns", what);
      const task = await ended(client, body.id);
      expect(task.state).to.equal("failed");
      expect(task.error).to.have.property("code", code);
    });
  }

  it("with bad input is refused, field by field, before there is a task", async () => {
    const before = await database.db.collection("tasks").countDocuments();
    const { status, body } = await rig.post("typed", { day: "no day", times: 1.5 });
    expect(status).to.equal(400);
    expect(body).to.include({ code: "bad-input" });
    expect((body.errors as { path: string }[]).map(({ path }) => path).sort()).to.deep.equal(["day", "times"]);
    for (const { message } of body.errors as { message: string }[]) expect(message).to.be.a("string");
    expect(await database.db.collection("tasks").countDocuments()).to.equal(before);
  });

  it("that may not be started is answered as one that does not exist (hazard 37a)", async () => {
    for (const name of ["no-such", "for-nobody", "for-users"]) {
      const { status, body } = await rig.post(name);
      expect(status).to.equal(404);
      expect(body).to.include({ code: "unknown-task", detail: `there is no task "${name}" that you may start` });
    }
  });

  it("is asked for with a body that says what it is", async () => {
    const { status, body } = await rig.post(undefined as unknown as string, {});
    expect(status).to.equal(400);
    expect(body.code).to.equal("bad-request");
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: "[]" };
    const list = await fetch(`http://127.0.0.1:${rig.gateway.port}/api/tasks`, init);
    expect(await refusalOf(list)).to.equal("400 bad-json");
  });

  it("is a document like any other, without loss where that is asked for", async () => {
    const { body } = await rig.post("double", { of: 21 });
    await ended(client, body.id);
    const task = (await rig.get(`/api/tasks/${body.id}?format=ejson`)).body;
    expect(task).to.deep.include({ id: { $oid: body.id }, result: { $numberInt: "42" }, state: "complete" });
    expect((await rig.get(`/api/tasks/${body.id}`)).headers.get("etag")).to.be.a("string");
    const headers = { "content-type": "application/json" };
    const url = `http://127.0.0.1:${rig.gateway.port}/api/tasks`;
    for (const [path, init] of [
      ["?wait=1", { method: "POST", headers, body: '{"name":"double","input":{"of":1}}' }],
      [`/${body.id}?wait=1`, {}],
      [`/${body.id}?force=1`, { method: "DELETE" }],
    ] as const) {
      expect(await refusalOf(await fetch(url + path, init)), path).to.equal("400 unknown-parameter");
    }
  });

  it("is seen and cancelled by its creator only", async () => {
    const tasks = database.db.collection<{ _id: string; name: string; state: string; user: string }>("tasks");
    await tasks.insertOne({ _id: "another's", name: "elsewhere", state: "queued", user: "u1" });
    expect((await rig.get("/api/tasks/another's")).body).to.include({ status: 404, code: "not-found" });
    expect((await rig.cancel("another's")).body).to.include({ status: 404, code: "not-found" });
    expect(await tasks.findOne({ _id: "another's" })).to.have.property("state", "queued");
    await tasks.deleteOne({ _id: "another's" });
  });

  it("that another program inserted runs, and fails where its input is not right", async () => {
    const tasks = database.db.collection<{ _id: string; name: string; input: unknown; state: string }>("tasks");
    await tasks.insertMany([
      { _id: "good", name: "sum-main", input: { numbers: [40, 2] }, state: "queued" },
      { _id: "bad", name: "sum-main", input: { numbers: "none" }, state: "queued" },
    ]);
    const good = await ended(client, "good");
    expect(good.result).to.have.property("sum", 42);
    expect(await ended(client, "bad")).to.have.nested.property("error.code", "bad-input");
  });

  it("counts in the metrics", async () => {
    const { body } = await rig.post("double", { of: 1 });
    await ended(client, body.id);
    const text = await (await fetch(`http://127.0.0.1:${rig.gateway.port}/metrics`)).text();
    expect(text).to.match(/tailgate_tasks_total\{task="double",state="complete"\} [1-9]/);
    expect(text).to.match(/tailgate_tasks_running \d/);
  });
});

describe("a task where users are known", () => {
  const secret = "0123456789abcdef0123456789abcdef";
  let database: SpecDatabase;
  let rig: TaskRig;
  let url: string;

  before(async () => {
    database = await freshDatabase();
    rig = await startTasks(database, definitions, {
      auth: { anonymous: true, jwt: { secret } },
      shutdown: { graceSeconds: 1 },
    });
    url = `http://127.0.0.1:${rig.gateway.port}/api/tasks`;
  });
  after(async () => {
    await rig.stop();
    await database.dispose();
  });

  it("is its creator's alone", async () => {
    const ask = async (sub: string, path: string, method = "GET"): Promise<number> => {
      const headers = { authorization: `Bearer ${await signed(secret, { sub })}` };
      return (await fetch(url + path, { method, headers })).status;
    };
    const headers = {
      authorization: `Bearer ${await signed(secret, { sub: "ann" })}`,
      "content-type": "application/json",
    };
    const created = await fetch(url, { method: "POST", headers, body: '{"name":"held"}' });
    expect(created.status).to.equal(202);
    const { id } = (await created.json()) as { id: string };
    expect([await ask("ann", `/${id}`), await ask("bob", `/${id}`)]).to.deep.equal([200, 404]);
    expect((await rig.get(`/api/tasks/${id}`)).status).to.equal(404);
    expect((await rig.cancel(id)).status).to.equal(404);
    expect([await ask("bob", `/${id}`, "DELETE"), await ask("ann", `/${id}`, "DELETE")]).to.deep.equal([404, 200]);
  });

  it("that an anonymous client started is nobody's", async () => {
    const { status, body } = await rig.post("held");
    expect(status).to.equal(202);
    expect((await rig.get(`/api/tasks/${body.id}`)).status).to.equal(404);
    expect((await rig.cancel(body.id)).body).to.include({ status: 404, code: "not-found" });
    expect((await rig.get("/api/tasks")).body).to.include({ status: 404, code: "unknown-interface" });
    const refused = connectClient(`ws://127.0.0.1:${rig.gateway.port}/ws?interfaces=tasks`);
    expect((await (await refused).closed).code).to.equal(4400);
  });
});

describe("a task's definition", () => {
  const input = z.undefined();
  it("is refused where it could never run", () => {
    expect(() => defineTask({ name: "1", input, where: "main", run: everyone })).to.throw(/begins with a letter/);
    expect(() => defineTask({ name: "a", input: {} as typeof input, where: "main", run: everyone })).to.throw(/zod/);
    expect(() => defineTask({ name: "a", input, where: "moon" as "main", run: everyone })).to.throw(/"main"/);
    expect(() => defineTask({ name: "a", input, where: "thread", run: everyone.bind(null) })).to.throw(/bound/);
  });

  it("has to come from defineTask", async () => {
    const database = await freshDatabase();
    try {
      await startTasks(database, [{ name: "handmade" }] as never);
      expect.fail("started");
    } catch (error) {
      expect(String(error)).to.contain("made by defineTask()");
    } finally {
      await database.dispose();
    }
  });
});
