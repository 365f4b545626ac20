import { expect } from "chai";
import { connectClient, type TestClient } from "../support/client.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Row = { _id: number; n: number; text: string };
type Part = { type?: string; data: Row[]; last?: boolean };

const text = "x".repeat(1_000);

describe("a snapshot that is larger than what is kept of it", () => {
  const rows = 20_000;
  let server: OwnServer;
  let database: SpecDatabase;
  let gateway: TestGateway;
  const items = () => database.db.collection<Row>("items");

  before(async function () {
    this.timeout(60_000);
    server = await startOwnServer();
    database = await freshDatabase(server);
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    for (let from = 0; from < rows; from += 5_000) {
      await items().insertMany(Array.from({ length: 5_000 }, (_, index) => ({ _id: from + index, n: 0, text })));
    }
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true }, small: { read: true } },
      // What was inserted above is none of the gateway's past: its history begins after it.
      history: { events: 1_000 },
    });
  });
  after(async () => {
    await gateway.stop();
    // Its own server: dropping so much takes it longer than being killed.
    await server.dispose();
  });

  async function open(): Promise<TestClient> {
    const client = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items" }));
    return client;
  }
  const isType = (type: string) => (message: Record<string, unknown>) => message.type === type;

  it("comes whole to who reads and to who had stopped reading; others go on meanwhile", async function () {
    this.timeout(60_000);
    const stalled = await open();
    await stalled.until(isType("snapshot"));
    stalled.socket.pause();
    // Others subscribe, and read all of it, while one holds its read up.
    const others = await Promise.all([open(), open()]);
    for (const other of others) await other.until(isType("ready"), 40_000);
    for (const other of others) {
      const parts = other.received.filter(isType("snapshot")) as unknown as Part[];
      const ids = new Set(parts.flatMap(({ data }) => data.map((row) => (row as unknown as { id: number }).id)));
      expect(ids.size).to.equal(rows);
      expect(parts.filter(({ last }) => last).length).to.equal(1);
      expect(parts.at(-1)?.last).to.equal(true);
      await other.close();
    }
    const small = await subscribe(gateway.websocketUrl, { interface: "small" });
    await small.ready(5_000);
    await small.close();
    // It had not been forgotten: it goes on where it stopped, perhaps from the beginning.
    await items().updateOne({ _id: 7 }, { $set: { n: 1 } });
    stalled.socket.resume();
    await stalled.until(isType("ready"), 40_000);
    const latest = new Map<number, Row>();
    for (const message of stalled.received) {
      if (message.type === "reset") latest.clear();
      if (message.type !== "snapshot") continue;
      for (const row of message.data as (Row & { id: number })[]) latest.set(row.id, row);
    }
    await stalled.until((message) => message.operation !== undefined || latest.get(7)?.n === 1).catch(() => undefined);
    expect(latest.size).to.equal(rows);
    await stalled.close();
  });

  it("is exact although rows change, come and go while it is sent", async function () {
    this.timeout(60_000);
    const joining = subscribe(gateway.websocketUrl, { interface: "items" });
    let isWriting = true;
    const writing = (async () => {
      for (let n = 0; isWriting; n++) {
        await items().updateOne({ _id: (n * 7_919) % rows }, { $set: { n: n + 1 } });
        if (n % 3 === 0) await items().deleteOne({ _id: (n * 104_729) % rows });
        if (n % 4 === 0) await items().insertOne({ _id: rows + n, n, text });
      }
    })();
    const subscriber: Subscriber = await joining;
    await subscriber.ready(40_000);
    isWriting = false;
    await writing;
    await items().insertOne({ _id: 1_000_000, n: 0, text });
    await subscriber.until((held) => held.has("1000000"));
    const stored = await items().find().project({ n: 1 }).sort({ _id: 1 }).toArray();
    const held = [...subscriber.rows.values()].map(({ id, n }) => ({ _id: id, n }));
    held.sort((a, b) => Number(a._id) - Number(b._id));
    expect(held.length).to.equal(stored.length);
    expect(held).to.deep.equal(stored);
    expect(subscriber.faults).to.deep.equal([]);
    await subscriber.close();
  });

  it("is begun again, another way, when the database no longer has the moment that it is of", async function () {
    this.timeout(60_000);
    const exact = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true } },
      snapshots: { readConcern: "snapshot" },
      history: { events: 1_000 },
    });
    const client = await connectClient(exact.websocketUrl, { protocols: ["tailgate.v1"] });
    client.socket.on("message", () => {
      // The rest waits for its reader, so that the database is asked for more after what follows.
      if (client.received.filter(isType("snapshot")).length === 1) client.socket.pause();
    });
    client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items" }));
    await client.until(isType("snapshot"));
    const snapshotTooOld = 239;
    // Each of the two gateways' streams may be what one of them meets, and is then away for seconds.
    await failCommand(database.client, { times: 3 }, { failCommands: ["getMore"], errorCode: snapshotTooOld });
    client.socket.resume();
    await client.until(isType("ready"), 40_000);
    const told = client.received.map(({ type, reason }) => reason ?? type).filter((each) => each !== "snapshot");
    expect(new Set(told.slice(1, -1))).to.deep.equal(new Set(["too-far-behind"]));
    expect([told.at(0), told.at(-1)]).to.deep.equal(["welcome", "ready"]);
    const from = client.received.findLastIndex(isType("reset"));
    const parts = client.received.slice(from).filter(isType("snapshot")) as unknown as Part[];
    const ids = parts.flatMap(({ data }) => data.map((row) => (row as unknown as { id: number }).id));
    const stored = await items().countDocuments();
    expect([ids.length, new Set(ids).size]).to.deep.equal([stored, stored]);
    await client.close();
    await exact.stop();
  });
});

describe("a row that can't be represented", () => {
  it("is left out, and told of in log and metrics; the others are shown (hazard 12)", async () => {
    const database = await freshDatabase();
    await database.db.collection<{ _id: number }>("items").insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }]);
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        items: {
          read: true,
          representation: ({ _id }) => {
            if (_id === 2) throw new Error("a poison document");
            return { twice: _id * 2 };
          },
        },
      },
    });
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "items" });
    await subscriber.ready();
    expect([...subscriber.rows.values()]).to.deep.equal([
      { id: 1, twice: 2 },
      { id: 3, twice: 6 },
    ]);
    expect(gateway.logged.some(({ msg }) => msg === "document not represented")).to.equal(true);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).to.match(/tailgate_quarantined_documents_total\{interface="items"\} [1-9]/);
    await subscriber.close();
    await gateway.stop();
    await database.dispose();
  });
});

describe("a snapshot that was read at one moment", () => {
  it("is gone on from at once, though the stream stands at that very moment", async () => {
    const server = await startOwnServer(["--noop-heartbeat-seconds", "60"]);
    const database = await freshDatabase(server);
    const items = database.db.collection<{ _id: number }>("items");
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true } },
      snapshots: { readConcern: "snapshot" },
    });
    await items.insertOne({ _id: 1 });
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "items" });
    await subscriber.ready();
    await subscriber.client.close();
    await subscriber.reconnect();
    // Nothing is written meanwhile: the stream stays where it is, for a minute.
    await subscriber.ready(10_000);
    await items.insertOne({ _id: 2 });
    await subscriber.until((rows) => rows.has("2"));
    expect([subscriber.recoveries, subscriber.resets, subscriber.faults]).to.deep.equal([1, [], []]);
    await subscriber.close();
    await gateway.stop();
    await server.dispose();
  });
});
