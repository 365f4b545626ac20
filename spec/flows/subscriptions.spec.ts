import { expect } from "chai";
import { connectClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: number; group: string; n: number; hidden?: number };

for (const images of [true, false]) {
  describe(`a subscription, with pre-images ${images ? "on" : "off"}`, () => {
    let database: SpecDatabase;
    let gateway: TestGateway;
    const open: Subscriber[] = [];
    const items = () => database.db.collection<Item>("items");
    const join = async (options: { filter?: unknown; fields?: string[] } = {}): Promise<Subscriber> => {
      const subscriber = await subscribe(gateway.websocketUrl, { interface: "items", ...options });
      open.push(subscriber);
      await subscriber.ready();
      return subscriber;
    };
    const expected = async (filter: object): Promise<[string, unknown][]> =>
      (await items().find(filter).toArray()).map(({ _id, hidden: _, ...rest }) => [String(_id), { id: _id, ...rest }]);
    const sorted = (rows: Iterable<[string, unknown]>): [string, unknown][] =>
      [...rows].sort(([a], [b]) => Number(a) - Number(b));

    beforeEach(async () => {
      database = await freshDatabase();
      await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: images } });
      gateway = await startTestGateway({
        mongo: database.uri,
        interfaces: { items: { read: true, fields: ["group", "n"] } },
      });
    });
    afterEach(async () => {
      for (const subscriber of open.splice(0)) await subscriber.close();
      await gateway.stop();
      await database.dispose();
    });

    it("gets a snapshot, then what enters, changes and leaves its filter", async () => {
      await items().insertMany([
        { _id: 1, group: "a", n: 1 },
        { _id: 2, group: "b", n: 1 },
      ]);
      const subscriber = await join({ filter: { group: "a" } });
      expect([...subscriber.rows.keys()]).to.deep.equal(["1"]);
      await items().updateOne({ _id: 2 }, { $set: { group: "a" } });
      await subscriber.until((rows) => rows.has("2"));
      await items().updateOne({ _id: 2 }, { $set: { n: 2 } });
      await subscriber.until((rows) => rows.get("2")?.n === 2);
      await items().updateOne({ _id: 1 }, { $set: { group: "b" } });
      await subscriber.until((rows) => !rows.has("1"));
      await items().deleteOne({ _id: 2 });
      await subscriber.until((rows) => rows.size === 0);
      const operations = subscriber.client.received.filter((message) => message.operation !== undefined);
      expect(operations.map((message) => message.operation)).to.deep.equal(["insert", "update", "delete", "delete"]);
      expect(subscriber.faults).to.deep.equal([]);
    });

    it("is complete although everything changes while it joins (hazards 17, 18, 22)", async () => {
      let writing = true;
      let next = 0;
      const writer = (async () => {
        while (writing) {
          const _id = next++;
          await items().insertOne({ _id, group: _id % 3 === 0 ? "a" : "b", n: 0 });
          await items().updateOne({ _id: Math.floor(_id / 2) }, { $set: { group: "a" }, $inc: { n: 1 } });
          if (_id % 5 === 0) await items().deleteOne({ _id: Math.floor(_id / 3) });
        }
      })();
      const subscribers: Subscriber[] = [];
      for (let round = 0; round < 8; round++) {
        subscribers.push(...(await Promise.all(Array.from({ length: 5 }, () => join({ filter: { group: "a" } })))));
      }
      writing = false;
      await writer;
      await items().insertOne({ _id: 1_000_000, group: "a", n: 0 });
      const wanted = await expected({ group: "a" });
      for (const subscriber of subscribers) {
        await subscriber.until((rows) => rows.has("1000000"));
        expect(sorted(subscriber.rows)).to.deep.equal(sorted(wanted));
        expect(subscriber.faults).to.deep.equal([]);
        expect(subscriber.resets).to.deep.equal([]);
      }
    }).timeout(60_000);

    it("goes on from its position after a disconnection, or says why it can't", async () => {
      await items().insertMany(Array.from({ length: 20 }, (_, n) => ({ _id: n, group: n % 2 === 0 ? "a" : "b", n })));
      const all = await join();
      const some = await join({ filter: { group: "a" } });
      for (let round = 0; round < 5; round++) {
        await all.client.close();
        await some.client.close();
        await items().updateMany({ n: { $lt: 5 } }, { $inc: { n: 1 } });
        await items().deleteOne({ _id: round });
        await items().updateOne({ _id: 10 + round }, { $set: { group: round % 2 === 0 ? "b" : "a" } });
        await items().insertOne({ _id: 100 + round, group: "a", n: round });
        await all.reconnect();
        await some.reconnect();
        for (const [subscriber, filter] of [
          [all, {}],
          [some, { group: "a" }],
        ] as const) {
          await subscriber.until((rows) => rows.has(String(100 + round)));
          expect(sorted(subscriber.rows)).to.deep.equal(sorted(await expected(filter)));
        }
      }
      expect(all.recoveries).to.equal(5);
      expect(all.resets).to.deep.equal([]);
      if (images) expect(some.resets).to.deep.equal([]);
      else expect(new Set(some.resets)).to.deep.equal(new Set(["membership-unknown"]));
      expect([...all.faults, ...some.faults]).to.deep.equal([]);
    }).timeout(60_000);

    it("is told when everything is void, and gets it anew (hazard 8)", async () => {
      await items().insertOne({ _id: 1, group: "a", n: 1 });
      const subscriber = await join();
      await items().drop();
      await subscriber.until((rows) => rows.size === 0);
      expect(subscriber.resets).to.deep.equal(["dropped"]);
      await items().insertOne({ _id: 2, group: "a", n: 1 });
      await subscriber.until((rows) => rows.has("2"));
      expect(subscriber.faults).to.deep.equal([]);
    });

    it("is refused a position that is not one of this database's (hazard 20)", async () => {
      for (const since of ["x", "f".repeat(32), `${"0".repeat(24)}deadbeef`, "0".repeat(32)]) {
        const client = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
        client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items", since }));
        const messages = await client.until((message) => message.type === "ready", 15_000);
        expect(messages.map((message) => message.type)).to.deep.equal(["welcome", "reset", "snapshot", "ready"]);
        expect(messages[1]?.reason).to.be.oneOf(["unknown-position", "too-far-behind"]);
        await client.close();
      }
    }).timeout(40_000);
  });
}

describe("the protocol tailgate.v1", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true, fields: ["group", "n"], filterable: ["hidden"] }, secret: { read: false } },
      limits: { subscriptionsPerConnection: 3 },
    });
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });
  const connect = () => connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });

  it("welcomes, answers pings and unsubscribes", async () => {
    const client = await connect();
    expect(client.socket.protocol).to.equal("tailgate.v1");
    expect(await client.next()).to.deep.include({ type: "welcome", user: null });
    for (const message of [
      { type: "subscribe", id: "a", interface: "items", snapshot: false },
      { type: "ping" },
      { type: "unsubscribe", id: "a" },
    ]) {
      client.socket.send(JSON.stringify(message));
    }
    const [ready, pong, unsubscribed] = await client.take(3);
    expect(ready).to.deep.include({ type: "ready", id: "a", recovered: false });
    expect(pong).to.have.keys("type", "position");
    expect(unsubscribed).to.deep.equal({ type: "unsubscribed", id: "a" });
    await client.close();
  });

  const refusals: [name: string, message: object, status: number, code: string][] = [
    ["an interface that is not there", { interface: "nope" }, 404, "unknown-interface"],
    ["an interface that may not be read", { interface: "secret" }, 404, "unknown-interface"],
    ["a filter on a hidden path", { interface: "items", filter: { password: "x" } }, 400, "path-not-filterable"],
    ["an operator that runs code", { interface: "items", filter: { $where: "1" } }, 400, "operator-not-supported"],
    ["fields that are not shown", { interface: "items", fields: ["hidden"] }, 400, "bad-fields"],
    ["an unknown member", { interface: "items", filters: {} }, 400, "bad-message"],
  ];
  for (const [name, message, status, code] of refusals) {
    it(`refuses ${name} with ${code}, and goes on`, async () => {
      const client = await connect();
      await client.next();
      client.socket.send(JSON.stringify({ type: "subscribe", id: 7, ...message }));
      expect(await client.next()).to.deep.include({ type: "error", id: 7, status, code });
      client.socket.send('{"type":"ping"}');
      expect(await client.next()).to.deep.include({ type: "pong" });
      await client.close();
    });
  }

  it("bounds the subscriptions of a connection, and their ids are its own", async () => {
    const client = await connect();
    await client.next();
    for (const id of [1, 1, 2, 3, 4]) {
      client.socket.send(JSON.stringify({ type: "subscribe", id, interface: "items", snapshot: false }));
    }
    const codes = (await client.take(5)).filter((message) => message.type === "error").map((message) => message.code);
    expect(codes).to.deep.equal(["duplicate-id", "too-many-subscriptions"]);
    await client.close();
  });

  it("closes what is no message with 4400", async () => {
    for (const text of ["{", "[]", '{"type":"dance"}']) {
      const client = await connect();
      client.socket.send(text);
      expect((await client.closed).code).to.equal(4400);
    }
  });
});
