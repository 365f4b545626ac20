import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import type { Change, Doc, Live, LiveUpdate, Reset } from "../../src/client/types.js";
import { runCommand, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { freePort } from "../support/port.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { closeClients, heard, open, until } from "./support.js";

type Item = Doc & { id: number; group: string; n: number };
type Stored = { _id: number; group: string; n: number };

const kills = 3;

describe("the copies of the client library", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let files: Awaited<ReturnType<typeof temporaryFiles>>;
  let environment: Record<string, string>;
  let gateway: TestCommand;
  const stopping = new AbortController();

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer();
    database = await freshDatabase(server);
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({ interfaces: { items: { read: true } }, auth: { anonymous: true } }),
    });
    const TAILGATE_CONFIG = join(files.folder, "tailgate.config.json");
    environment = { MONGODB_URI: database.uri, PORT: String(await freePort()), TAILGATE_CONFIG };
    gateway = await startGateway();
  });
  after(async () => {
    stopping.abort();
    closeClients();
    gateway?.kill("SIGKILL");
    await database?.client.close();
    await server?.dispose();
    await files?.dispose();
  });

  async function startGateway(): Promise<TestCommand> {
    const command = runCommand(["serve"], environment);
    await command.line(/gateway started/);
    return command;
  }

  /** Goes on whatever happens to the database. */
  async function write(): Promise<void> {
    const items = database.db.collection<Stored>("items");
    for (let n = 0; !stopping.signal.aborted; n++) {
      const group = "abc"[n % 3] ?? "a";
      const other = (n * 7_919) % (n + 1);
      try {
        await items.insertOne({ _id: n, group, n });
        await items.updateOne({ _id: other }, { $set: { group: "abc"[n % 2] ?? "a" }, $inc: { n: 1 } });
        if (n % 4 === 0) await items.deleteOne({ _id: (n * 104_729) % (n + 1) });
      } catch (error) {
        if (stopping.signal.aborted) throw error;
        await sleep(50);
      }
      await sleep(3);
    }
  }

  /** What is made of the changes alone. */
  async function replicaOf(live: Live<Item>): Promise<Map<number, Item>> {
    const replica = new Map(live.docs.map((doc) => [doc.id, doc]));
    const apply = (change: Change<Item> | Reset<Item>): void => {
      if (change.operation === "reset") throw new Error(`reset: ${change.reason}`);
      if (change.operation === "delete") for (const id of change.data) replica.delete(id);
      else replica.set(change.data.id, change.data);
    };
    const feed = live.changes();
    void (async () => {
      for await (const change of feed) apply(change);
    })();
    return replica;
  }

  it(`stay exact through ${kills} kills of the gateway and one of the database, by its changes too`, async () => {
    const client = open(`ws://127.0.0.1:${environment.PORT}/ws`);
    const queries: [Live<Item>, object][] = [
      [client.interface<Item>("items").live(), {}],
      [client.interface<Item>("items").where({ group: "a" }).live(), { group: "a" }],
      [
        client
          .interface<Item>("items")
          .where({ n: { $gt: 50 } })
          .live(),
        { n: { $gt: 50 } },
      ],
    ];
    const lives = queries.map(([live]) => live);
    await Promise.all(lives.map((live) => live.ready()));
    const updates: LiveUpdate<Item>[][] = lives.map(heard);
    const replicas = await Promise.all(lives.map(replicaOf));
    const writer = write();
    for (let kill = 1; kill <= kills; kill++) {
      await until(lives[0] as Live<Item>, ({ docs }) => docs.length > 50 * kill);
      gateway.kill("SIGKILL");
      await gateway.exit;
      await Promise.all(lives.map((live) => until(live, ({ state }) => state === "away")));
      if (kill === 1) await server.restart();
      gateway = await startGateway();
      // The longer the gateway was away, the longer the pauses between two attempts.
      await Promise.all(lives.map((live) => until(live, ({ state }) => state === "live", 60_000)));
    }
    stopping.abort();
    await writer;
    const response = await fetch(`http://127.0.0.1:${environment.PORT}/api/items?limit=1`);
    const { position } = (await response.json()) as { position: string };
    await Promise.all(lives.map((live) => live.caughtUp(position)));
    for (const [index, [live, filter]] of queries.entries()) {
      const stored = await database.db.collection<Stored>("items").find(filter).toArray();
      const wanted = stored.map(({ _id, ...more }) => ({ id: _id, ...more }));
      expect(live.docs, JSON.stringify(filter)).to.have.deep.members(wanted);
      expect([...(replicas[index]?.values() ?? [])]).to.have.deep.members(wanted);
      expect(wanted.length).to.be.greaterThan(20);
      expect(updates[index]?.slice(1).some(({ replaced }) => replaced)).to.equal(false);
    }
  }).timeout(300_000);
});
