import { expect } from "chai";
import { connectClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: number; n: number };

describe("a client that was away", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  const gateways: TestGateway[] = [];
  const clients: Subscriber[] = [];
  const items = () => database.db.collection<Item>("items");
  const busy = () => database.db.collection<Item>("busy");

  /** A gateway that can tell what the last few changes were, and no more. */
  async function start(history: { events: number; replayLimit: number }): Promise<TestGateway> {
    const interfaces = { items: { read: true }, busy: { read: true } };
    const gateway = await startTestGateway({ mongo: database.uri, interfaces, history });
    gateways.push(gateway);
    return gateway;
  }
  async function join(gateway: TestGateway): Promise<Subscriber> {
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "items" });
    clients.push(subscriber);
    await subscriber.ready();
    return subscriber;
  }
  const stored = async (): Promise<[string, unknown][]> =>
    (await items().find().toArray()).map(({ _id, n }) => [String(_id), { id: _id, n }]);
  const typesOf = ({ client }: Subscriber): unknown[] => client.received.map(({ type }) => type ?? "change");

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer(["--oplog-max-entries", "300"]);
  });
  after(() => server?.dispose());
  beforeEach(async () => {
    database = await freshDatabase(server);
    for (const name of ["items", "busy"]) {
      await database.db.createCollection(name, { changeStreamPreAndPostImages: { enabled: true } });
    }
    await items().insertMany(Array.from({ length: 10 }, (_, n) => ({ _id: n, n })));
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
    for (const gateway of gateways.splice(0)) await gateway.stop();
    await database.dispose();
  });

  it("for more changes than may be replayed gets none of them, but a snapshot (hazard 21)", async () => {
    const gateway = await start({ events: 50, replayLimit: 50 });
    const away = await join(gateway);
    const witness = await connectClient(`${gateway.websocketUrl}?interfaces=items`);
    await away.client.close();
    await items().updateMany({}, { $inc: { n: 1 } });
    await items().insertMany(Array.from({ length: 100 }, (_, n) => ({ _id: 100 + n, n })));
    await items().deleteMany({ _id: { $lt: 150 } });
    await witness.until(({ operation, data }) => operation === "delete" && (data as number[]).includes(149));
    await away.reconnect();
    await away.ready();
    expect(typesOf(away)).to.deep.equal(["welcome", "reset", "snapshot", "ready"]);
    expect([away.resets, away.recoveries, away.faults]).to.deep.equal([["too-far-behind"], 0, []]);
    expect([...away.rows]).to.have.deep.members(await stored());
    await witness.close();
  });

  it("goes on where it was although its view was quiet while the oplog rolled (hazard 21a)", async () => {
    const gateway = await start({ events: 50, replayLimit: 50 });
    const quiet = await join(gateway);
    const early = await join(gateway);
    const witness = await connectClient(`${gateway.websocketUrl}?interfaces=busy`);
    // Not told of any progress, it keeps the position of its `ready`.
    await early.client.close();
    for (let n = 0; n < 1_000; n += 100) {
      await busy().insertMany(Array.from({ length: 100 }, (_, k) => ({ _id: n + k, n })));
    }
    await witness.take(1_000);
    await quiet.client.until(({ type }) => type === "progress", 15_000);
    await quiet.client.close();
    await items().updateOne({ _id: 1 }, { $set: { n: -1 } });
    await quiet.reconnect();
    await quiet.until((rows) => rows.get("1")?.n === -1);
    expect(typesOf(quiet)).to.deep.equal(["welcome", "ready", "change"]);
    expect([quiet.resets, quiet.recoveries, quiet.faults]).to.deep.equal([[], 1, []]);
    await early.reconnect();
    await early.ready();
    expect([early.resets, early.recoveries, early.faults]).to.deep.equal([["too-far-behind"], 0, []]);
    await witness.close();
  }).timeout(60_000);

  it("because its gateway was restarted, one after the other, misses nothing and starts nothing anew (hazard 29)", async () => {
    const enough = { events: 10_000, replayLimit: 10_000 };
    let standing = await start(enough);
    let next = await start(enough);
    const followers = await Promise.all(Array.from({ length: 10 }, (_, n) => join(n % 2 === 0 ? standing : next)));
    let writing = true;
    let written = 1_000;
    const writer = (async () => {
      while (writing) {
        await items().insertOne({ _id: written++, n: 0 });
        await items().updateOne({ _id: Math.floor(written / 2) + 500 }, { $inc: { n: 1 } });
      }
    })();
    for (let restarts = 0; restarts < 4; restarts++) {
      const stopped = standing.stop();
      const leaving = followers.filter(({ client }) => client.socket.url === standing.websocketUrl);
      for (const { client } of leaving) expect((await client.closed).code).to.equal(1001);
      await Promise.all(leaving.map((follower) => follower.reconnect(next.websocketUrl)));
      await stopped;
      const mark = written;
      standing = next;
      next = await start(enough);
      // Who stands after the new one's start can be served by it.
      for (const follower of followers) await follower.until((rows) => rows.has(String(mark)));
    }
    writing = false;
    await writer;
    for (const follower of followers) {
      await follower.until((rows) => rows.has(String(written - 1)));
      expect([follower.resets, follower.faults]).to.deep.equal([[], []]);
      expect(follower.recoveries).to.be.at.least(3);
    }
    await items().insertOne({ _id: 1_000_000, n: 0 });
    for (const follower of followers) {
      await follower.until((rows) => rows.has("1000000"));
      expect([...follower.rows]).to.have.deep.members(await stored());
    }
  }).timeout(90_000);
});
