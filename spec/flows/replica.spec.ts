import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { expect } from "chai";
import { ensureSecantus } from "../../replica-set/secantus.mjs";
import { eventually } from "../support/eventually.js";
import { runCommand, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { freePort } from "../support/port.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

/** Kills of the gateway; of the database a quarter of them, two at least. */
const kills = Number(process.env.TAILGATE_KILLS ?? 5);
const databaseKills = Math.max(2, Math.ceil(kills / 4));

const program = fileURLToPath(new URL("../support/replica_client.py", import.meta.url));

interface ReplicaState {
  readonly rows: Record<string, { id: number }>;
  readonly position: string | null;
  readonly ready: boolean;
  readonly resets: string[];
  readonly faults: string[];
  readonly recoveries: number;
  readonly connections: number;
  readonly changes: number;
}

type Item = { _id: number; group: string; n: number; hidden: number };

/** What each replica is of: what it subscribes to, and the same as a query. */
const views = [
  { interface: "items", filter: {} },
  { interface: "items", filter: { group: "a" } },
  { interface: "items", filter: { n: { $gte: 3 } }, fields: ["n"] },
  // Without pre-images.
  { interface: "blind", filter: {} },
  { interface: "blind", filter: { group: "a" } },
] as const;

describe("a client in another language", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let files: Awaited<ReturnType<typeof temporaryFiles>>;
  let gateway: TestCommand;
  let client: ChildProcess;
  let environment: Record<string, string>;
  let answers: AsyncIterator<string>;
  let written = 0;
  const stopping = new AbortController();

  before(async () => {
    server = await startOwnServer();
    database = await freshDatabase(server);
    for (const [name, enabled] of [
      ["items", true],
      ["blind", false],
    ] as const) {
      await database.db.createCollection(name, { changeStreamPreAndPostImages: { enabled } });
    }
    const port = await freePort();
    const show = { fields: ["group", "n"], read: true };
    files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({ interfaces: { items: show, blind: show }, auth: { anonymous: true } }),
    });
    environment = {
      MONGODB_URI: database.uri,
      PORT: String(port),
      TAILGATE_CONFIG: join(files.folder, "tailgate.config.json"),
    };
    gateway = await startGateway();
    const python = join(dirname(await ensureSecantus()), "python");
    client = spawn(python, [program, "127.0.0.1", String(port), JSON.stringify(views)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    if (client.stdout === null) throw new Error("no output");
    answers = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  });
  after(async () => {
    stopping.abort();
    client.stdin?.end();
    await once(client, "exit");
    gateway.kill("SIGKILL");
    await gateway.exit;
    await database.client.close();
    await server.dispose();
    await files.dispose();
  });

  async function startGateway(): Promise<TestCommand> {
    const command = runCommand(["serve"], environment);
    await command.line(/gateway started/);
    return command;
  }

  async function states(): Promise<ReplicaState[]> {
    client.stdin?.write("state\n");
    return JSON.parse((await answers.next()).value) as ReplicaState[];
  }

  /** Waits until all replicas satisfy the condition; stops at the first fault. */
  async function until(what: string, condition: (state: ReplicaState, index: number) => boolean): Promise<void> {
    const deadline = performance.now() + 30_000;
    for (;;) {
      const now = await states();
      const faults = now.flatMap((state) => state.faults);
      if (faults.length > 0) throw new Error(faults.join("; "));
      if (now.every(condition)) return;
      if (performance.now() > deadline) {
        const rows = now.map((state) => ({ ...state, rows: Object.keys(state.rows).length }));
        throw new Error(`not ${what}: ${JSON.stringify(rows)}\n${gateway.errors().slice(-2_000)}`);
      }
      await sleep(50);
    }
  }

  /** Goes on whatever happens to the database, until it is told to stop. */
  async function write(): Promise<void> {
    let seed = 11;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      // Its low digits repeat soon.
      return Math.floor((seed / 2_147_483_648) * below);
    };
    let next = 0;
    while (!stopping.signal.aborted) {
      const name = random(2) === 0 ? "items" : "blind";
      const collection = database.db.collection<Item>(name);
      const group = "abc"[random(3)] ?? "a";
      const _id = random(next + 1);
      const kind = random(10);
      try {
        if (kind < 3) await collection.insertOne({ _id: next++, group, n: random(6), hidden: 0 });
        else if (kind < 5) await collection.updateOne({ _id }, { $set: { group } });
        else if (kind < 7) await collection.updateOne({ _id }, { $set: { n: random(6) } });
        else if (kind === 7) await collection.updateOne({ _id }, { $inc: { hidden: 1 } });
        else if (kind === 8) await collection.deleteOne({ _id });
        else await collection.updateMany({ _id: { $gte: _id, $lt: _id + 5 } }, { $inc: { n: 1 } });
        written += 1;
      } catch (error) {
        // The database is away: what this write came to doesn't matter, for the replicas are compared with what is there.
        if (stopping.signal.aborted) throw error;
        await sleep(50);
      }
      await sleep(2);
    }
  }

  it(`keeps replicas exact through ${kills} kills of the gateway and ${databaseKills} of the database (hazard 19)`, async () => {
    const writer = write();
    await until("ready", (state) => state.ready);
    for (let kill = 1; kill <= kills; kill++) {
      const before = await states();
      gateway.kill("SIGKILL");
      await gateway.exit;
      gateway = await startGateway();
      await until("connected again", (state, i) => state.ready && state.connections > (before[i]?.connections ?? 0));
      if (kill <= databaseKills) await server.restart();
      const then = await states();
      await until("following", (state, i) => state.ready && state.changes > (then[i]?.changes ?? 0));
    }
    // The fewest that leave rows in every view, however slow the disk is.
    await eventually(() => written >= 1_000, 120_000);
    stopping.abort();
    await writer;
    const last = 10_000_000;
    for (const name of ["items", "blind"]) {
      await database.db.collection<Item>(name).insertOne({ _id: last, group: "a", n: 9, hidden: 0 });
    }
    await until("complete", (state) => String(last) in state.rows);

    const final = await states();
    const differences: string[] = [];
    for (const [index, view] of views.entries()) {
      const found = await database.db.collection<Item>(view.interface).find(view.filter).toArray();
      const wanted = new Map(
        found.map(({ _id, group, n }) => [String(_id), "fields" in view ? { id: _id, n } : { id: _id, group, n }]),
      );
      const rows = new Map(Object.entries(final[index]?.rows ?? {}));
      for (const id of new Set([...wanted.keys(), ...rows.keys()])) {
        if (isDeepStrictEqual(wanted.get(id), rows.get(id))) continue;
        differences.push(`${JSON.stringify(view)}: ${JSON.stringify([wanted.get(id), rows.get(id)])}`);
      }
      expect(wanted.size).to.be.greaterThan(10);
    }
    expect(differences, "views, and what is in the database beside what is in the replica").to.deep.equal([]);
    for (const [index, view] of views.entries()) {
      const { resets, faults, connections, changes } = final[index] as ReplicaState;
      expect(faults).to.deep.equal([]);
      expect(connections).to.be.greaterThan(kills);
      expect(changes).to.be.greaterThan(20);
      const mayNotKnow = view.interface === "blind" && Object.keys(view.filter).length > 0;
      const legitimate = mayNotKnow ? ["membership-unknown"] : [];
      expect(
        resets.filter((reason) => !legitimate.includes(reason)),
        JSON.stringify(view),
      ).to.deep.equal([]);
    }
  }).timeout(60_000 + 15_000 * kills);
});
