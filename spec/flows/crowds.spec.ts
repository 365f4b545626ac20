import { expect } from "chai";
import { connectClient, type TestClient } from "../support/client.js";
import { metricOf } from "../support/eventually.js";
import { runCommand, startTestGateway, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { startProxy } from "../support/proxy.js";
import { framesOf, rawUpgrade, readAll } from "../support/raw-websocket.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: number; n: number; text?: string };

/** A database behind a proxy that counts commands: names of commands and stages stand in BSON between a tag and a zero. */
interface CountedDatabase extends SpecDatabase {
  readonly proxiedUri: string;
  /** How often gateways have opened a change stream. */
  readonly streams: number;
  /** How often they have read the collection `items`. */
  readonly finds: number;
}

async function countedDatabase(server: OwnServer): Promise<CountedDatabase> {
  const database = await freshDatabase(server);
  const findItems = "\x02find\0\x06\0\0\0items\0";
  const counts = { "$changeStream\0": 0, [findItems]: 0 };
  const proxy = await startProxy(
    { port: server.port },
    {
      sent(chunk) {
        const text = chunk.toString("latin1");
        for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += text.split(name).length - 1;
      },
    },
  );
  return {
    ...database,
    proxiedUri: `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`,
    get streams() {
      return counts["$changeStream\0"];
    },
    get finds() {
      return counts[findItems];
    },
    async dispose() {
      await proxy.close();
      await database.dispose();
    },
  };
}

describe("a crowd of clients", () => {
  let server: OwnServer;
  let database: CountedDatabase;

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer();
  });
  after(() => server?.dispose());
  beforeEach(async () => {
    database = await countedDatabase(server);
    for (const name of ["items", "heavy"]) {
      await database.db.createCollection(name, { changeStreamPreAndPostImages: { enabled: true } });
    }
  });
  afterEach(() => database.dispose());

  it("costs the database one change stream, however many subscriptions it has (hazard 23)", async () => {
    const gateway = await startTestGateway({ mongo: database.proxiedUri, interfaces: { items: { read: true } } });
    const before = database.streams;
    const views = Array.from({ length: 100 }, (_, n) => n);
    const clients = await Promise.all(
      Array.from({ length: 10 }, () => connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] })),
    );
    try {
      for (const client of clients) {
        for (const n of views) {
          client.socket.send(JSON.stringify({ type: "subscribe", id: n, interface: "items", filter: { n } }));
        }
      }
      const isReady = ({ type }: Record<string, unknown>): boolean => type === "ready";
      for (const client of clients) for (const _ of views) await client.until(isReady);
      expect(await metricOf(gateway.url, "tailgate_subscriptions ")).to.equal(1_000);
      expect(await metricOf(gateway.url, "tailgate_views ")).to.equal(100);
      await database.db.collection<Item>("items").insertMany(views.map((n) => ({ _id: n, n })));
      for (const client of clients) {
        const changes = await client.take(views.length);
        expect(changes.map(({ data }) => (data as Item).n)).to.deep.equal(views);
      }
      expect([before, database.streams]).to.deep.equal([1, 1]);
    } finally {
      for (const client of clients) await client.close();
      await gateway.stop();
    }
  }).timeout(60_000);

  it("of a hundred stalled readers among a thousand loses those, each with 4508, and the others miss nothing (hazard 25)", async () => {
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true }, heavy: { read: true } },
      limits: { bufferedMegabytes: 1 },
    });
    const connect = (interfaces: string): Promise<TestClient> =>
      connectClient(`${gateway.websocketUrl}?interfaces=${interfaces}`);
    const light = await Promise.all(Array.from({ length: 890 }, () => connect("items")));
    const both = await Promise.all(Array.from({ length: 10 }, () => connect("items,heavy")));
    const stalled = await Promise.all(Array.from({ length: 100 }, () => rawUpgrade(gateway.gateway.port)));
    for (const socket of stalled) socket.pause();
    const closed = (): Promise<number> => metricOf(gateway.url, 'tailgate_connections_closed_total{code="4508"}');
    const text = "x".repeat(100_000);
    let sent = 0;
    // The operating system's own buffers take some megabytes each, how many nobody knows.
    while ((await closed()) !== stalled.length && sent < 400) {
      const _id = sent++;
      await database.db.collection<Item>("heavy").insertOne({ _id, n: _id, text });
      await database.db.collection<Item>("items").insertOne({ _id, n: _id });
      for (const client of both) await client.take(2);
    }
    expect(await closed()).to.equal(stalled.length);
    const numbers = Array.from({ length: sent }, (_, n) => n);
    for (const client of light) {
      const received = await client.take(sent);
      expect(received.map(({ data }) => (data as { id: number }).id)).to.deep.equal(numbers);
    }
    const ends = await Promise.all(stalled.map(readAll));
    for (const bytes of ends) {
      const last = framesOf(bytes).at(-1);
      expect([last?.opcode, last?.payload.readUInt16BE(0)]).to.deep.equal([8, 4508]);
    }
    expect(await metricOf(gateway.url, "tailgate_connections{")).to.equal(light.length + both.length);
    for (const client of [...light, ...both]) client.socket.terminate();
    await gateway.stop();
  }).timeout(120_000);

  it("that returns at once after a kill -9 of the gateway reads nothing twice (hazard 27)", async () => {
    const items = database.db.collection<Item>("items");
    await items.insertMany(Array.from({ length: 20 }, (_, n) => ({ _id: n, n: n % 2 })));
    const files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({ interfaces: { items: { read: true } }, auth: { anonymous: true } }),
    });
    const start = async (): Promise<{ gateway: TestCommand; url: string }> => {
      const gateway = runCommand(["serve", "--config", `${files.folder}/tailgate.config.json`], {
        MONGODB_URI: database.proxiedUri,
        PORT: "0",
      });
      const { port } = JSON.parse(await gateway.line(/gateway started/)) as { port: number };
      return { gateway, url: `ws://127.0.0.1:${port}/ws` };
    };
    const first = await start();
    const herd: Subscriber[] = await Promise.all(
      Array.from({ length: 500 }, (_, n) => subscribe(first.url, { interface: "items", filter: { n: n % 2 } })),
    );
    for (const each of herd) await each.ready();
    await items.insertMany([
      { _id: 100, n: 0 },
      { _id: 101, n: 1 },
    ]);
    for (const each of herd) await each.until((rows) => rows.size === 11);
    first.gateway.kill("SIGKILL");
    await Promise.all(herd.map((each) => each.client.closed));
    // Missed by everybody.
    await items.deleteMany({ _id: { $in: [0, 1] } });
    await items.insertOne({ _id: 102, n: 0 });

    const second = await start();
    const before = { finds: database.finds, streams: database.streams };
    await Promise.all(herd.map((each) => each.reconnect(second.url)));
    await items.insertOne({ _id: 103, n: 1 });
    const found = await items.find().toArray();
    const wanted = [0, 1].map((half) => found.filter(({ n }) => n === half).map(({ _id }) => String(_id)));
    for (const [n, each] of herd.entries()) {
      await each.until((rows) => rows.has(n % 2 === 0 ? "102" : "103"));
      expect([...each.rows.keys()]).to.have.members(wanted[n % 2] ?? []);
      expect([each.recoveries, each.resets, each.faults]).to.deep.equal([1, [], []]);
    }
    // All of it came from memory, which the gateway has filled again from the database's history.
    expect(database.finds - before.finds).to.equal(0);
    expect(database.streams).to.equal(before.streams);
    for (const each of herd) each.client.socket.terminate();
    second.gateway.kill();
    await second.gateway.exit;
    await files.dispose();
  }).timeout(120_000);
});
