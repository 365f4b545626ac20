import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { z } from "zod";
import { defineTask, exported } from "../../src/index.js";
import { eventually, isAlive } from "../executors/support.js";
import type { TestClient } from "../support/client.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { ended, type Shown, startTasks, type TaskRig, until } from "./support/rig.js";
import type * as work from "./support/work.js";

const workModule = import.meta.resolve("./support/work.js");
const allow = (): boolean => true;
const input = z.undefined();
const aborted: string[] = [];

const waiting = defineTask({
  name: "wait-main",
  input,
  where: "main",
  allow,
  run: (_, context) =>
    new Promise((_, reject) => {
      context.progress(0.25);
      context.signal.addEventListener("abort", () => {
        aborted.push((context.signal.reason as { code: string }).code);
        reject(context.signal.reason);
      });
    }),
});
let parsed = 0;
const definitions = [
  waiting,
  defineTask({ name: "deaf-main", input, where: "main", allow, run: () => new Promise(() => {}) }),
  defineTask({
    name: "block-process",
    input,
    where: "process",
    allow,
    run: exported<typeof work.block>(workModule, "block"),
  }),
  defineTask({
    name: "tick-thread",
    input: z.object({ file: z.string() }),
    where: "thread",
    allow,
    run: exported<typeof work.tick>(workModule, "tick"),
  }),
  ...(["thread", "process"] as const).map((where) =>
    defineTask({ name: `crash-${where}`, input, where, allow, run: exported<typeof work.crash>(workModule, "crash") }),
  ),
  ...(["main", "thread"] as const).map((where) =>
    defineTask({
      name: `never-parsed-${where}`,
      // It answers when the task is asked for, and not when it is run.
      input: z.any().refine(() => parsed++ === 0 || new Promise<boolean>(() => {})),
      where,
      allow,
      run: () => "done",
    }),
  ),
  defineTask({
    name: "reports",
    input: z.any(),
    where: "main",
    allow,
    run(last, context) {
      context.progress(0.5);
      // So soon after the first it is written with the end.
      context.progress(last);
      return "done";
    },
  }),
  defineTask({ name: "quick", input, where: "process", allow, run: () => "done" }),
];

describe("the end of a task", () => {
  let database: SpecDatabase;
  let rig: TaskRig;
  let client: TestClient;
  let folder: string;

  async function start(taskSettings: object): Promise<void> {
    rig = await startTasks(database, definitions, { taskSettings });
    client = await rig.watch();
  }

  beforeEach(async () => {
    aborted.length = 0;
    database = await freshDatabase();
    folder = await mkdtemp(join(tmpdir(), "tailgate-tasks-"));
  });
  afterEach(async () => {
    await client.close();
    await rig.stop();
    await database.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  /** Waits until the task has shown a progress: its function is then surely running. */
  async function progressOf(id: string): Promise<Shown> {
    const isIt = ({ data }: Record<string, unknown>): boolean =>
      (data as Shown).id === id && (data as Shown).progress !== null;
    // Not `until`, which hands messages out: two may wait at the same time.
    await eventually(() => client.received.some(isIt));
    return client.received.find(isIt)?.data as Shown;
  }

  it("comes at its time limit on the main thread, whether it listens to its signal or not", async () => {
    await start({ timeoutSeconds: 0.3 });
    const polite = await rig.post("wait-main");
    const deaf = await rig.post("deaf-main");
    for (const { body } of [polite, deaf]) {
      const task = await ended(client, body.id);
      expect(task.state).to.equal("failed");
      expect(task.error).to.deep.equal({
        code: "task-timeout",
        message: "the task ran for more than 0.3 s and was ended",
      });
    }
    expect(aborted).to.deep.equal(["task-timeout"]);
  });

  it("comes at its time limit in a process, which is killed", async () => {
    await start({ timeoutSeconds: 5 });
    const { body } = await rig.post("block-process");
    const { pid } = (await progressOf(body.id)).progress as { pid: number };
    expect(await ended(client, body.id)).to.have.nested.property("error.code", "task-timeout");
    await eventually(() => !isAlive(pid));
  });

  it("comes at its time limit in a thread, which stops", async () => {
    await start({ timeoutSeconds: 5 });
    const file = join(folder, "ticks");
    const { body } = await rig.post("tick-thread", { file });
    expect(await ended(client, body.id)).to.have.nested.property("error.code", "task-timeout");
    await standsStill(file);
  });

  for (const where of ["thread", "process"]) {
    it(`is a failure of its own where its ${where} exits, and it is not tried again (hazard 41)`, async () => {
      await start({});
      const { body } = await rig.post(`crash-${where}`);
      const task = await ended(client, body.id);
      expect(task.state).to.equal("failed");
      expect(task.error).to.have.property("code", "worker-crashed");
      const next = await rig.post("quick");
      expect(await ended(client, next.body.id)).to.include({ state: "complete", result: "done" });
      expect(await database.db.collection("tasks").countDocuments({ attempts: 1 })).to.equal(2);
    });
  }

  it("is immediate for a queued task that is cancelled, which then never runs", async () => {
    await start({ concurrency: 1 });
    const first = await rig.post("wait-main");
    await progressOf(first.body.id);
    const queued = await rig.post("wait-main");
    const { status, body } = await rig.cancel(queued.body.id);
    expect(status).to.equal(200);
    expect(body).to.include({ state: "cancelled", started_at: null });
    expect(body.ended_at).to.be.a("string");
    await rig.cancel(first.body.id);
    const last = await rig.post("quick");
    await ended(client, last.body.id);
    const shown = await until(client, queued.body.id, "cancelled");
    expect(shown.map(({ state }) => state)).to.deep.equal(["queued", "cancelled"]);
    expect(aborted).to.deep.equal(["task-cancelled"]);
  });

  it("comes to a cancelled task on the main thread through its signal", async () => {
    await start({});
    const { body } = await rig.post("wait-main");
    await progressOf(body.id);
    expect((await rig.cancel(body.id)).body).to.include({ state: "cancelled", progress: 0.25 });
    await eventually(() => aborted.length > 0);
    expect(aborted).to.deep.equal(["task-cancelled"]);
    const again = await rig.cancel(body.id);
    expect(again.status).to.equal(409);
    expect(again.body.code).to.equal("task-ended");
  });

  it("comes to a cancelled task in a process, which is killed", async () => {
    await start({});
    const { body } = await rig.post("block-process");
    const { pid } = (await progressOf(body.id)).progress as { pid: number };
    await rig.cancel(body.id);
    await eventually(() => !isAlive(pid));
    expect((await rig.get(`/api/tasks/${body.id}`)).body.state).to.equal("cancelled");
  });

  it("comes to a cancelled task in a thread, which stops", async () => {
    await start({});
    const file = join(folder, "ticks");
    const { body } = await rig.post("tick-thread", { file });
    await progressOf(body.id);
    await rig.cancel(body.id);
    await standsStill(file);
  });

  it("comes to a task that another gateway cancels, or that is removed, by the change stream", async () => {
    await start({});
    const other = await startTasks(database, [defineTask({ name: "other", input, where: "main", allow, run: allow })]);
    const [first, second] = [await rig.post("wait-main"), await rig.post("wait-main")];
    await Promise.all([progressOf(first.body.id), progressOf(second.body.id)]);
    expect((await other.cancel(first.body.id)).status).to.equal(200);
    await eventually(() => aborted.length === 1);
    await database.db.collection("tasks").deleteMany({ state: "running" });
    await eventually(() => aborted.length === 2);
    expect(aborted).to.deep.equal(["task-cancelled", "task-lost"]);
    await other.stop();
  });

  for (const where of ["main", "thread"]) {
    it(`comes at its time limit where its schema never answers (${where})`, async () => {
      parsed = 0;
      await start({ timeoutSeconds: 1 });
      const { body } = await rig.post(`never-parsed-${where}`);
      expect((await ended(client, body.id)).error).to.have.property("code", "task-timeout");
    });
  }

  it("is not kept from coming by a last progress that the database refuses", async () => {
    const validator = { "progress.refused": { $exists: false } };
    await database.db.createCollection("tasks", { validator });
    await start({ timeoutSeconds: 60 });
    const { body } = await rig.post("reports", { refused: true });
    expect(await ended(client, body.id)).to.include({ state: "complete", result: "done", progress: 0.5 });
  });

  it("makes room for the next: as many run as may, the oldest first, and the rest wait up to the cap", async () => {
    await start({ concurrency: 2, queue: 3 });
    const running = [await rig.post("wait-main"), await rig.post("wait-main")];
    for (const { body } of running) await progressOf(body.id);
    const queued = await Promise.all([1, 2, 3, 4, 5, 6].map(() => rig.post("wait-main")));
    expect(queued.map(({ status }) => status).sort()).to.deep.equal([202, 202, 202, 503, 503, 503]);
    const refused = queued.find(({ status }) => status === 503);
    expect(refused?.body).to.include({ code: "task-queue-full" });
    expect(refused?.headers.get("retry-after")).to.be.a("string");
    const tasks = database.db.collection("tasks");
    expect(await tasks.countDocuments()).to.equal(5);
    await rig.cancel(running[0]?.body.id as string);
    const oldest = queued
      .filter(({ status }) => status === 202)
      .map(({ body }) => body.id)
      .sort();
    await until(client, oldest[0] as string, "running");
    expect(await tasks.countDocuments({ state: "running" })).to.equal(2);
    expect((await rig.post("wait-main")).status).to.equal(202);
  });
});

/** A thread that is being ended may write once more; then the file's size stays. */
async function standsStill(file: string): Promise<void> {
  let [before, now] = [-1, (await stat(file)).size];
  for (let looks = 0; before !== now; looks++) {
    if (looks > 50) throw new Error("the thread goes on");
    await new Promise((resolve) => setTimeout(resolve, 100));
    [before, now] = [now, (await stat(file)).size];
  }
}
