import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import type { ChangeStream, Document, ObjectId } from "mongodb";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

const script = fileURLToPath(new URL("./support/gateway-process.ts", import.meta.url));

interface GatewayProcess {
  readonly pid: number;
  readonly url: string;
  /** Its log so far. */
  log(): string;
  signal(name: NodeJS.Signals): void;
  /** Waits for its end. @returns the exit code, or the signal that ended it */
  readonly exit: Promise<number | NodeJS.Signals>;
}

interface TaskDocument extends Document {
  _id: ObjectId;
  state: string;
  attempts: number;
}

/** @returns the status of `/readyz` */
async function readiness(url: string, agent: Agent): Promise<number> {
  const [response] = (await once(get(`${url}/readyz`, { agent }), "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
  return response.statusCode ?? 0;
}

/** Tasks are followed by a change stream of the spec's own, so that nothing is waited for but what happens. */
class Followed {
  readonly #stream: ChangeStream<TaskDocument>;
  readonly #seen: TaskDocument[] = [];

  constructor(stream: ChangeStream<TaskDocument>) {
    this.#stream = stream;
  }

  /** @returns the first state of a task, seen before or later, that satisfies the condition */
  async until(condition: (task: TaskDocument) => boolean): Promise<TaskDocument> {
    return this.#seen.find(condition) ?? (await this.next(condition));
  }

  /** @returns the same, of those that were not seen before */
  async next(condition: (task: TaskDocument) => boolean): Promise<TaskDocument> {
    for (;;) {
      const event = await this.#stream.next();
      const task = "fullDocument" in event ? event.fullDocument : undefined;
      if (task === undefined || task === null) continue;
      this.#seen.push(task);
      if (condition(task)) return task;
    }
  }

  close(): Promise<void> {
    return this.#stream.close();
  }
}

describe("gateways that share tasks", function () {
  this.timeout(60_000);
  let database: SpecDatabase;
  let tasks: Followed;
  const started: GatewayProcess[] = [];

  beforeEach(async () => {
    database = await freshDatabase();
    const collection = await database.db.createCollection<TaskDocument>("tasks", {
      changeStreamPreAndPostImages: { enabled: true },
    });
    const stream = collection.watch<TaskDocument>([], { fullDocument: "whenAvailable", maxAwaitTimeMS: 200 });
    // Opens it: what happens from here on is seen.
    await stream.tryNext();
    tasks = new Followed(stream);
  });
  afterEach(async () => {
    for (const gateway of started.splice(0)) {
      gateway.signal("SIGKILL");
      await gateway.exit;
    }
    await tasks.close();
    await database.dispose();
  });

  async function start(
    options: { concurrency?: number; lease?: number; grace?: number } = {},
  ): Promise<GatewayProcess> {
    const { concurrency = 2, lease = 30_000, grace = 8 } = options;
    const args = [database.uri, concurrency, lease, grace].map(String);
    const child: ChildProcess = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), script, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    const exit = once(child, "close").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
    const ready = child.stdout ? once(child.stdout, "data") : Promise.reject(new Error("no output"));
    const [port] = (await Promise.race([ready, exit.then(() => [undefined])])) as [Buffer | undefined];
    if (port === undefined) throw new Error(`the gateway did not start:\n${log}`);
    const gateway: GatewayProcess = {
      pid: child.pid as number,
      url: `http://127.0.0.1:${String(port).trim()}`,
      log: () => log,
      signal: (name) => void child.kill(name),
      exit,
    };
    started.push(gateway);
    return gateway;
  }

  async function post(gateway: GatewayProcess, name: string, input: object): Promise<string> {
    const answer = await fetch(`${gateway.url}/api/tasks`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name, input }),
    });
    expect(answer.status).to.equal(202);
    return ((await answer.json()) as { id: string }).id;
  }

  const runsOf = (gateways: GatewayProcess[], task: TaskDocument): GatewayProcess =>
    gateways.find(({ pid }) => String(task.gateway).split("/")[1] === String(pid)) as GatewayProcess;

  it("run forty between them, none twice", async () => {
    const gateways = await Promise.all([start(), start()]);
    const [first, second] = gateways as [GatewayProcess, GatewayProcess];
    const ids = new Set<string>();
    for (let n = 0; n < 40; n++) ids.add(await post(n % 4 === 0 ? second : first, "traced", { n, milliseconds: 20 }));
    const open = new Set(ids);
    while (open.size > 0) {
      const done = await tasks.until(({ _id, state }) => open.has(_id.toHexString()) && state === "complete");
      open.delete(done._id.toHexString());
    }
    const runs = await database.db.collection("runs").find().toArray();
    expect(runs.map(({ n }) => n).sort((a, b) => a - b)).to.deep.equal([...Array(40).keys()]);
    expect([...new Set(runs.map(({ pid }) => pid))].sort()).to.deep.equal(gateways.map(({ pid }) => pid).sort());
    expect(await database.db.collection("tasks").countDocuments({ attempts: 1 })).to.equal(40);
  });

  it("take a task whose gateway was killed once again, and give it up when that one is killed too (hazard 41)", async () => {
    const gateways = await Promise.all([start({ lease: 2_000 }), start({ lease: 2_000 }), start({ lease: 2_000 })]);
    await post(gateways[0] as GatewayProcess, "traced", { n: 1, milliseconds: 600_000 });
    const first = runsOf(gateways, await tasks.until(({ attempts, progress }) => attempts === 1 && progress === 0.5));
    first.signal("SIGKILL");
    const second = runsOf(gateways, await tasks.until(({ attempts, progress }) => attempts === 2 && progress === 0.5));
    expect(second.pid).to.not.equal(first.pid);
    second.signal("SIGKILL");
    const given = await tasks.until(({ state }) => state === "failed");
    expect(given.error).to.have.property("code", "gateway-lost");
    expect(given).to.include({ attempts: 2 });
    expect(given.ended_at).to.be.an.instanceOf(Date);
    const runs = await database.db.collection("runs").find().toArray();
    expect(runs.map(({ pid }) => pid)).to.deep.equal([first.pid, second.pid]);
  });

  it("finish a task whose gateway was killed", async () => {
    const gateways = await Promise.all([start({ lease: 2_000 }), start({ lease: 2_000 })]);
    const id = await post(gateways[0] as GatewayProcess, "traced", { n: 1, milliseconds: 4_000 });
    const first = runsOf(gateways, await tasks.until(({ progress }) => progress === 0.5));
    first.signal("SIGKILL");
    const done = await tasks.until(({ state }) => state === "complete");
    expect(done._id.toHexString()).to.equal(id);
    expect(done).to.include({ attempts: 2 });
    expect(done.result).to.deep.equal({ pid: gateways.find((gateway) => gateway !== first)?.pid });
  });

  it("leave a long task alone as long as its gateway renews the lease", async () => {
    const gateways = await Promise.all([start({ lease: 2_000 }), start({ lease: 2_000 })]);
    await post(gateways[0] as GatewayProcess, "traced", { n: 1, milliseconds: 6_000 });
    const done = await tasks.until(({ state }) => state === "complete");
    expect(done).to.include({ attempts: 1 });
    expect(await database.db.collection("runs").countDocuments()).to.equal(1);
  });

  it("recover, when one starts again, what was running when all were killed", async () => {
    const only = await start({ lease: 1_000 });
    await post(only, "traced", { n: 1, milliseconds: 1_500 });
    await tasks.until(({ progress }) => progress === 0.5);
    only.signal("SIGKILL");
    await only.exit;
    const next = await start({ lease: 1_000 });
    const done = await tasks.until(({ state }) => state === "complete");
    expect(done).to.include({ attempts: 2 });
    expect(done.result).to.deep.equal({ pid: next.pid });
  });

  it("keep one that was frozen past its lease from writing anything of the task that another has taken", async () => {
    const gateways = await Promise.all([start({ lease: 2_000 }), start({ lease: 2_000 })]);
    await post(gateways[0] as GatewayProcess, "traced", { n: 1, milliseconds: 3_000 });
    const frozen = runsOf(gateways, await tasks.until(({ progress }) => progress === 0.5));
    const other = gateways.find((gateway) => gateway !== frozen) as GatewayProcess;
    frozen.signal("SIGSTOP");
    await tasks.until(({ attempts, progress }) => attempts === 2 && progress === 0.5);
    // By now its own time is over as well: it wakes up with a result in hand, or soon.
    frozen.signal("SIGCONT");
    const done = await tasks.until(({ state }) => state === "complete");
    expect(done).to.include({ attempts: 2 });
    expect(done.result).to.deep.equal({ pid: other.pid });
    frozen.signal("SIGTERM");
    expect(await frozen.exit).to.equal(0);
    expect(frozen.log()).to.match(/"outcome":"lost"/);
    expect(await database.db.collection("tasks").findOne()).to.deep.equal(done);
  });

  it("give their tasks a grace when they stop, and the time is enough for a short one", async () => {
    const gateway = await start({ grace: 8 });
    await post(gateway, "traced", { n: 1, milliseconds: 4_000 });
    await tasks.until(({ progress }) => progress === 0.5);
    // One connection that is open before, as a balancer has one.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    expect(await readiness(gateway.url, agent)).to.equal(200);
    gateway.signal("SIGTERM");
    const seen: number[] = [];
    for (let isUp = true; isUp; await sleep(50)) {
      isUp = await readiness(gateway.url, agent).then(
        (status) => seen.push(status) > 0,
        () => false,
      );
    }
    expect(seen.lastIndexOf(200)).to.be.lessThan(seen.indexOf(503));
    expect(seen.filter((status) => status === 503).length).to.be.at.least(3);
    const done = await tasks.until(({ state }) => state !== "queued" && state !== "running");
    expect(done).to.include({ state: "complete", attempts: 1 });
    expect(await gateway.exit).to.equal(0);
    agent.destroy();
  });

  for (const name of ["traced", "computed"]) {
    it(`give a task back whose grace is over, uncounted, to one that goes on (${name})`, async () => {
      const gateways = await Promise.all([start({ grace: 4 }), start({ grace: 4 })]);
      await post(gateways[0] as GatewayProcess, name, { n: 1, milliseconds: 6_000 });
      const stopping = runsOf(gateways, await tasks.until(({ state }) => state === "running"));
      const staying = gateways.find((gateway) => gateway !== stopping) as GatewayProcess;
      stopping.signal("SIGTERM");
      const released = await tasks.next(({ state }) => state === "queued");
      expect(released).to.include({ attempts: 0, gateway: null });
      expect(await stopping.exit).to.equal(0);
      const done = await tasks.until(({ state }) => state === "complete");
      expect(done).to.include({ attempts: 1 });
      expect(String(done.gateway)).to.contain(`/${staying.pid}/`);
    });
  }
});
